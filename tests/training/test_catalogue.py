"""Laws of the catalogue: shipped methods, and those that an installed package brings."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from processes import done

from safeft.assets import folder
from safeft.training import load_recipe
from safeft.training.advice import evidence
from safeft.training.methods.catalogue import GROUP, METHODS, SHIPPED, installed, name_of
from safeft.training.methods.method import SLOTS

PLUGIN = '''
from typing import Literal
from safeft.training.methods import InferenceMethod


class Mine(InferenceMethod):
    """A method of someone else's."""

    name: Literal["mine"]
    words: str = "please"

    def bundle(self):
        return {"system_prompt": self.words}


class Slotless:
    pass
'''
POINTS = (
    "[safeft.methods]\nmine = theirs:Mine\nslotless = theirs:Slotless\nabsent = nowhere:Absent\n"
)


def test_every_shipped_method_says_what_the_catalogue_prints() -> None:
    """Slot, cost, source, what speaks for and against it; by the name in a YAML."""
    for method in SHIPPED:
        assert METHODS[name_of(method)] is method
        assert method.slot in SLOTS
        assert not inspect.isabstract(method)
        assert method.cost
        assert method.source
        assert "for: " in method.evidence and "against: " in method.evidence


def test_every_shipped_method_has_a_recipe() -> None:
    """One that no recipe names is one that nobody finds."""
    recipes = [load_recipe(path.stem) for path in folder("recipes").glob("*.yaml")]
    assert {one.name for recipe in recipes for one in recipe.methods} == set(METHODS)


def test_ls_recipes_prints_each_recipe_with_its_evidence() -> None:
    """Name, slots, cost, source and evidence; `ls` alone stays a line for each kind."""
    said = done("ls", "recipes").out
    for name in ("baseline", "constrained", "ptst"):
        recipe = load_recipe(name)
        (line,) = (one for one in said.splitlines() if one.startswith(f"{name} "))
        for method in recipe.methods:
            assert line.split()[1] == method.slot
            assert method.cost in line and method.source in line
            assert f"    {method.evidence}\n" in said
        assert f"    {recipe.summary}\n" in said
    for one in evidence().values():
        assert f"    ours: {one.measured or 'not measured'}\n" in said
    assert all(": " in line for line in done("ls").out.splitlines())


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which a package with methods is installed."""
    (tmp_path / "theirs.py").write_text(PLUGIN)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "mine.yaml").write_text("name: one\nmethods: [{name: mine}]\nlora: {}\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": paths}


def test_an_installed_method_is_one_of_them(plugin: dict[str, str], tmp_path: Path) -> None:
    """In the schema and in recipes; one that is broken bothers only the recipe that names it."""
    code = (
        "import json, sys; from safeft.training import Recipe, load_recipe\n"
        "from safeft.errors import ConfigError\n"
        "print(json.dumps('Mine' in Recipe.model_json_schema()['$defs']))\n"
        f"print(json.dumps(load_recipe({str(tmp_path / 'mine.yaml')!r}).methods[0].bundle()))\n"
        "for name in ('slotless', 'absent'):\n"
        "    try:\n"
        "        load_recipe('ema', [f'methods.0.name={name}'])\n"
        "    except ConfigError as error:\n"
        "        print(json.dumps(str(error)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=plugin, capture_output=True, text=True, check=True
    )
    known, bundle, slotless, absent = map(json.loads, run.stdout.splitlines())
    assert known is True
    assert bundle == {"system_prompt": "please"}
    assert "'slotless' is installed but cannot be loaded: theirs:Slotless: is no class" in slotless
    assert "'absent' is installed but cannot be loaded: nowhere:Absent: No module" in absent


def test_shipped_names_win_and_names_must_agree() -> None:
    """Installing a package must not change what `ema` means, nor say one name and mean another."""
    mine = "safeft.training.methods.ema:Ema"
    abstract = "safeft.training.methods:LossMethod"
    points = [EntryPoint(name, value, GROUP) for name, value in (("ema", mine), ("other", mine))]
    found, broken = installed([*points, EntryPoint("slot", abstract, GROUP)])
    assert found == {}
    assert set(broken) == {"other", "slot"}
    assert "must declare `name: Literal['other']`" in broken["other"]
    assert "fills no slot" in broken["slot"]
