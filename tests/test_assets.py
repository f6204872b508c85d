"""Reading YAML into strict models: every failure is one ConfigError that helps."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from safeft.assets import find, folder, read_yaml
from safeft.errors import ConfigError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Lora(Strict):
    name: Literal["lora"]
    rank: int = 8


class Mixing(Strict):
    name: Literal["mixing"]
    share: float = 0.1


class Training(Strict):
    learning_rate: float = 1e-3
    epochs: int = Field(1, ge=1)
    betas: tuple[float, float] = (0.9, 0.999)

    @field_validator("epochs")
    @classmethod
    def _not_thirteen(cls, value: int) -> int:
        if value == 13:
            raise ValueError("13 is unlucky; choose another")
        return value


class Recipe(Strict):
    name: str
    training: Training = Training()
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    methods: list[Annotated[Lora | Mixing, Field(discriminator="name")]] = []
    either: Lora | Mixing | None = None
    free: dict[str, Any] = {}
    groups: dict[str, Training] = {}


def read(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, Recipe, overrides)


def message(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, *overrides)
    assert str(tmp_path / "recipe.yaml") in str(caught.value)
    return str(caught.value)


def test_a_whole_file_becomes_a_model(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        "name: one\ncolour: green\nmode: slow\ntraining: {learning_rate: 2e-4, betas: [0.8, 1]}\n"
        "methods: [{name: lora, rank: 4}, {name: mixing}]\n",
    )
    assert recipe.training == Training(learning_rate=2e-4, betas=(0.8, 1.0))
    assert recipe.colour is Colour.GREEN
    assert recipe.methods == [Lora(name="lora", rank=4), Mixing(name="mixing")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("2.5e-05", 2.5e-5),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("3", 3),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-4'", "1e-4"),
        ("[1e-4, a]", [1e-4, "a"]),
    ],
)
def test_plain_values_follow_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    assert read(tmp_path, f"name: one\nfree: {{a: {text}}}").free == {"a": value}
    assert read(tmp_path, "name: one", f"free.a={text}").free == {"a": value}


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_its_shortest_spelling(value: float) -> None:
    from safeft.assets import parse_yaml

    parsed = parse_yaml(repr(value), "here")
    assert isinstance(parsed, float)
    assert parsed == value


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("abc", min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text("xy é:#'\"\n-"),
            lambda inner: st.lists(inner) | st.dictionaries(st.text("k", min_size=1), inner),
        ),
    )
)
def test_what_yaml_writes_is_read_back(value: dict[str, Any]) -> None:
    from safeft.assets import parse_yaml

    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True), "here") == value


def test_merge_keys_and_aliases_work(tmp_path: Path) -> None:
    text = "name: one\ngroups:\n  a: &a {epochs: 2}\n  b: {<<: *a, learning_rate: 0.5}\n"
    groups = read(tmp_path, text).groups
    assert groups["b"] == Training(epochs=2, learning_rate=0.5)


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    text = "name: one\ngroups:\n  a: &a {epochs: 2}\n  b: {<<: *a, epochs: 3}\n"
    assert read(tmp_path, text).groups["b"].epochs == 3


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("name: one\nmodes: fast", "modes: ", "unknown key; did you mean 'mode'?"),
        ("name: one\ntraining: {epoch: 2}", "training.epoch: ", "did you mean 'epochs'?"),
        ("name: one\nzzzzzz: 2", "zzzzzz: ", "known: colour, either, free, groups"),
        ("name: one\ngroups: {a: {epoch: 2}}", "groups.a.epoch: ", "did you mean 'epochs'?"),
        (
            "name: one\nmethods: [{name: mixing, sharing: 1}]",
            "methods.0.sharing: ",
            "unknown key; did you mean 'share'?",
        ),
        (
            "name: one\neither: {name: lora, ranks: 1}",
            "either.ranks: ",
            "unknown key; did you mean 'rank'?",
        ),
        ("name: one\nmethods: [{name: loro}]", "methods.0: ", "'loro' is not known; did you mean"),
        ("name: one\nmethods: [{rank: 1}]", "methods.0: ", "name"),
        ("mode: fast", "name: ", "missing; add it"),
        ("", "name: ", "missing; add it"),
        ("name: 3", "name: ", "Input should be a valid string, not 3"),
        ("name: one\ntraining: {epochs: '3'}", "training.epochs: ", "valid integer, not '3'"),
        ("name: one\ntraining: {epochs: 0}", "training.epochs: ", "greater than or equal to 1"),
        ("name: one\ntraining: {epochs: 13}", "training.epochs: ", "13 is unlucky; choose another"),
        ("name: one\ntraining: 3", "training: ", "not 3"),
        ("name: one\ntraining: {betas: [1]}", "training.betas.1: ", "missing"),
        ("name: one\nmode: fist", "mode: ", "'fist' is not valid; did you mean 'fast'?"),
        ("name: one\nmode: 3", "mode: ", "'fast' or 'slow'"),
        ("name: one\ncolour: blue-ish", "colour: ", "known: green, red"),
    ],
)
def test_problems_name_the_key_and_the_cure(
    tmp_path: Path, text: str, key: str, words: str
) -> None:
    found = message(tmp_path, text)
    assert f"recipe.yaml: {key}" in found
    assert words in found


def test_every_problem_is_on_its_own_line(tmp_path: Path) -> None:
    found = message(tmp_path, "modes: fast\ntraining: {epoch: 1, betas: 3}").splitlines()
    assert len(found) == 4
    assert all("recipe.yaml: " in line for line in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "not valid YAML"),
        ("name: one\nname: two", "the key 'name' appears twice"),
        ("free: {a: 1, a: 2}", "appears twice"),
        ("? [a, b]\n: 1", "a key must be text"),
        ("name: &a [*a]", "recursive"),
        ("- one\n- two", "holds a list"),
        ("one", "holds a text"),
        ("3", "holds a number"),
        ("name: !!python/object:os.system x", "not valid YAML"),
        ("name: !!int many", "not valid YAML"),
        ("name: !!binary aGk=", "remove tags"),
    ],
)
def test_broken_yaml_is_a_config_error(tmp_path: Path, text: str, words: str) -> None:
    assert words in message(tmp_path, text)


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml", Recipe)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml", Recipe)


def test_overrides_reach_into_mappings_and_lists_in_order(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        "name: one\ngroups:\nmethods: [{name: lora}]\n",
        "training.learning_rate=1e-4",
        "training.learning_rate = 3e-4",
        "groups.a.epochs=2",
        "methods.0.rank=2",
        "name=a=b",
    )
    assert recipe.training.learning_rate == 3e-4
    assert recipe.groups == {"a": Training(epochs=2)}
    assert recipe.methods == [Lora(name="lora", rank=2)]
    assert recipe.name == "a=b"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=2", "training.epoch: unknown key; did you mean 'epochs'? (set by"),
        ("training.epochs=two", "not 'two' (set by override 'training.epochs=two')"),
        ("training", "must look like key=value"),
        ("=2", "must look like key=value"),
        ("training..epochs=2", "must look like key=value"),
        ("name.x=2", "'x' lies inside a text"),
        ("name.x.y=2", "'x' lies inside a text"),
        ("methods.3.rank=2", "'3' is not an index of a list of 1"),
        ("methods.first.rank=2", "'first' is not an index"),
        ("name=[", "not valid YAML"),
    ],
)
def test_problems_of_overrides_name_the_override(tmp_path: Path, override: str, words: str) -> None:
    found = message(tmp_path, "name: one\nmethods: [{name: lora}]", override)
    assert words in found
    assert repr(override) in found


def test_a_problem_of_the_file_does_not_blame_an_override(tmp_path: Path) -> None:
    assert "override" not in message(tmp_path, "name: 3", "training.epochs=2")


def test_find_takes_a_path_or_a_shipped_name(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("name: own")
    assert find("guardrails", str(own)) == own
    assert find("guardrails", "default") == folder("guardrails") / "default.yaml"
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        find("guardrails", "defualt")


def test_importing_assets_loads_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys, safeft.assets; print({'torch', 'transformers', 'pydantic'} & {*sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
