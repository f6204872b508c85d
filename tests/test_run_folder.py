"""The run directory as a whole: one process, one config, and what identifies its inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.errors import RunError, StoredError, UserError
from safeft.runs import (
    fingerprint,
    git_revision,
    hash_files,
    locked,
    open_run,
    read_json,
)

HOLDING = """
import sys, time
from pathlib import Path
from safeft.runs import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_in_use_is_refused_until_its_holder_is_gone(tmp_path: Path) -> None:
    """One process per folder; a killed one holds nothing."""
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="another process is working in it"), locked(tmp_path):
        raise AssertionError("two processes hold one folder")
    holder.kill()
    holder.communicate()
    with locked(tmp_path), pytest.raises(RunError), locked(tmp_path):
        raise AssertionError("one folder was locked twice")
    with locked(tmp_path):
        pass


TEXTS = st.text(st.characters(codec="utf-8"))
CONFIG = {"recipe": {"rank": 8, "targets": ("q", "v")}, "seed": 0}


def test_the_same_config_resumes(tmp_path: Path) -> None:
    """The manifest is written once: resuming changes nothing, tuples are lists."""
    open_run(tmp_path / "run", CONFIG)
    path = tmp_path / "run" / "manifest.json"
    before = path.read_bytes()
    open_run(tmp_path / "run", CONFIG)
    assert path.read_bytes() == before
    manifest = json.loads(before)
    assert manifest["config_hash"] == fingerprint(CONFIG)
    assert {"python", "torch", "numpy"} <= set(manifest["versions"])


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({**CONFIG, "seed": 1}, "seed"),
        ({**CONFIG, "more": None}, "more"),
        ({"recipe": CONFIG["recipe"]}, "seed"),
        ({"recipe": {"rank": 4, "targets": ["q", "v"]}, "seed": 2}, "recipe.rank, seed"),
        (
            {"recipe": {"rank": 8, "targets": ["q"], "alpha": 1}, "seed": 0},
            "recipe.alpha, recipe.targets",
        ),
        ({"recipe": None, "seed": 0}, "recipe"),
    ],
)
def test_another_config_is_refused_by_its_keys(
    tmp_path: Path, config: dict[str, Any], keys: str
) -> None:
    """Only the keys that differ are named, and the folder stays as it was."""
    open_run(tmp_path / "run", CONFIG)
    (tmp_path / "run" / "train.jsonl").write_text("")
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    with pytest.raises(RunError) as caught:
        open_run(tmp_path / "run", config)
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before
    assert f"holds another run (differs in: {keys});" in str(caught.value)
    assert "choose another --output or delete the folder" in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """A folder with other files and no manifest is nobody's run."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="is not empty and holds no run; choose another --output"):
        open_run(tmp_path, CONFIG)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_kill_before_the_manifest_is_whole_does_not_block_the_folder(tmp_path: Path) -> None:
    """The lock and a half-written manifest are ours: the same command starts anew."""
    with locked(tmp_path):
        (tmp_path / "manifest.json.partial").write_text('{"conf')
        open_run(tmp_path, CONFIG)
    assert read_json(tmp_path / "manifest.json")["config_hash"] == fingerprint(CONFIG)


def test_a_run_that_has_made_nothing_gives_way(tmp_path: Path) -> None:
    """A config corrected before anything was made needs no new folder."""
    open_run(tmp_path, CONFIG)
    open_run(tmp_path, {**CONFIG, "seed": 1})
    assert read_json(tmp_path / "manifest.json")["config"]["seed"] == 1


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    """Half a manifest says which file is damaged; another program's manifest is no run."""
    (tmp_path / "manifest.json").write_text('{"con')
    with pytest.raises(StoredError, match=r"manifest\.json: damaged"):
        open_run(tmp_path, CONFIG)
    for content in ("[]", '{"short_name": "app"}'):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(RunError, match="holds no run"):
            open_run(tmp_path, CONFIG)


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS)))
def test_a_fingerprint_sees_values_and_not_the_order_of_keys(value: dict[str, Any]) -> None:
    """Equal JSON has one fingerprint; one more key gives another."""
    turned = dict(reversed(list(value.items())))
    assert fingerprint(turned) == fingerprint(json.loads(json.dumps(value))) == fingerprint(value)
    assert fingerprint({**value, "one more key": 0}) != fingerprint(value)


def test_a_hash_of_files_sees_names_and_bytes(tmp_path: Path) -> None:
    """Weights are known by name and content; files of other kinds do not count."""
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    one.write_bytes(b"1")
    first = hash_files(tmp_path)
    (tmp_path / "README.md").write_text("x")
    assert hash_files(tmp_path) == first
    one.rename(other)
    assert hash_files(tmp_path) != first
    other.rename(one)
    one.write_bytes(b"2")
    assert hash_files(tmp_path) != first


def test_without_git_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder outside git nor a machine without git stops a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_revision() == "none"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision() == "none"
