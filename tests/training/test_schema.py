"""Laws of the recipe's schema, and of the recipes that ship."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from safeft.assets import folder
from safeft.errors import ConfigError
from safeft.training import Recipe, load_recipe
from safeft.training.methods.catalogue import METHODS

FORMS = ("plain", "task")
SHIPPED = sorted(folder("recipes").glob("*.yaml"))


def problem(*overrides: str, recipe: str = "baseline") -> str:
    """The message with which a shipped recipe with these overrides is refused."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe, overrides)
    return str(caught.value)


def test_the_shipped_recipes_are_these() -> None:
    """A recipe that nobody lists is a recipe that nobody tests."""
    assert [path.stem for path in SHIPPED] == [
        "asft_subspace",
        "baseline",
        "conservative",
        "constrained",
        "ema",
        "freeze_layers",
        "kl_anchor",
        "lisa",
        "lookahead",
        "ptst",
        "realign",
        "replay",
        "resta",
        "safe_lora",
        "safe_merge",
        "safegrad",
        "safety_mix",
        "scale",
        "self_generated",
        "self_replay",
        "star_dss",
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_by_name_and_by_path(path: Path) -> None:
    """The file's name is the recipe's, whichever way it is asked for."""
    assert load_recipe(path.stem) == load_recipe(str(path))
    assert load_recipe(path.stem).name == path.stem


def uncommented(path: Path, keys: Sequence[str]) -> list[str]:
    """The keys that have no comment, neither on their line nor on the line above."""
    lines = path.read_text().splitlines()
    bare = []
    for key in keys:
        at = [n for n, line in enumerate(lines) if re.match(rf"\s*(- )?\"?{key}\"?:", line)]
        if not any("#" in lines[n] or lines[n - 1].lstrip().startswith("#") for n in at):
            bare.append(key)
    return bare


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_key_is_written_and_explained_where_it_is_set(path: Path) -> None:
    """The YAML is the manual: each field of Recipe, of its method, and each argument."""
    recipe = load_recipe(path.stem)
    assert uncommented(path, [*Recipe.model_fields, *recipe.lora, *recipe.trainer]) == []
    for method in recipe.methods:
        fields = METHODS[method.name].model_fields
        assert uncommented(path, [key for key in fields if key != "name"]) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("metods=[]", "metods: unknown key; did you mean 'methods'?"),
        ("methods.0.shares=0.1", "methods.0.shares: unknown key; did you mean 'share'?"),
        ("methods.0.name=safety_mixing", "did you mean 'safety_mix'?"),
        ("precision=float16", "precision: 'float16' is not valid; did you mean 'bfloat16'?"),
        ("max_length='512'", "max_length: Input should be a valid integer, not '512'"),
        ("max_length=true", "max_length: Input should be a valid integer, not True"),
        ("max_length=1", "greater than 1"),
        ("lora=16", "lora: "),
        ("name=a/b", "name: "),
        ("methods.0.share=1.5", "methods.0.share: "),
        ("methods.0.lookalikes=.nan", "methods.0.lookalikes: Input should be a finite number"),
        ("methods.0.share=0.5", "must stay below 1; lower one of them"),
        ("methods=[{name: self_generated}, {name: self_generated}]", "may appear once"),
        ("trainer.num_train_epochs=1.5", "must be 1, 2, 3, …, not 1.5"),
        ("trainer.num_train_epochs=0", "must be 1, 2, 3, …, not 0"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_cure(override: str, words: str) -> None:
    """The message holds the file, the dotted key and what would be right."""
    said = problem(override, recipe="safety_mix")
    assert "safety_mix.yaml: " in said
    assert words in said
    assert "not {" not in said  # the whole recipe


def test_an_endless_temperature_is_refused() -> None:
    """Every token would be as likely as any other."""
    said = problem("methods.0.temperature=.inf", recipe="self_generated")
    assert "methods.0.temperature: Input should be a finite number" in said


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("output_dir", "x", "--output"),
        ("seed", "1", "--seed"),
        ("max_length", "64", "beside `trainer`"),
        ("max_steps", "10", "num_train_epochs"),
        ("save_strategy", "no", "each epoch"),
        ("save_total_limit", "1", "each epoch"),
        ("save_only_model", "true", "resume"),
        ("resume_from_checkpoint", "true", "same command"),
    ],
)
def test_what_safeft_sets_itself_is_refused(key: str, value: str, instead: str) -> None:
    """Two masters of one switch: the message says which one to use."""
    said = problem(f"trainer.{key}={value}")
    assert f"trainer.{key}: safeft sets it itself" in said
    assert instead in said


@pytest.mark.parametrize(("epochs", "expected"), [({}, 3), ({"num_train_epochs": 2.0}, 2)])
def test_epochs_are_trls(epochs: dict[str, Any], expected: int) -> None:
    """What is not given is TRL's default, and 2.0 is 2."""
    assert Recipe(name="one", lora={}, trainer=epochs).epochs == expected


def test_trls_default_epochs_are_still_three() -> None:
    """`Recipe.epochs` repeats the default, so that reading a recipe imports no TRL."""
    from trl import SFTConfig

    assert SFTConfig.__dataclass_fields__["num_train_epochs"].default == 3


def test_the_schema_describes_every_field() -> None:
    """Editors complete from it: each key of a recipe and its methods is in it."""
    schema = Recipe.model_json_schema()
    assert set(schema["properties"]) == set(Recipe.model_fields)
    for method in METHODS.values():
        assert set(schema["$defs"][method.__name__]["properties"]) == set(method.model_fields)


def test_recipes_of_former_runs_are_recorded_as_they_were() -> None:
    """A finished run is found finished: whatever keys came later are silent at their defaults."""
    results = Path(__file__).parents[2] / "benchmarks"
    manifests = sorted(results.glob("*/results/cells/*/training/manifest.json"))
    assert len(manifests) > 20
    named = set()
    for path in manifests:
        recorded = json.loads(path.read_text())["config"]["recipe"]
        read = Recipe.model_validate_json(json.dumps(recorded))
        assert read.model_dump(mode="json") == recorded, path
        named |= {method.name for method in read.methods}
    assert named >= {"safety_mix", "self_generated"}


def test_a_key_that_came_later_is_recorded_once_it_is_used() -> None:
    """Or two different runs would be one."""
    plain, task = (load_recipe("safety_mix", [f"methods.0.template={one}"]) for one in FORMS)
    assert "template" not in plain.model_dump(mode="json")["methods"][0]
    assert task.model_dump(mode="json")["methods"][0]["template"] == "task"


def test_careful_hyper_parameters_are_careful() -> None:
    """A smaller learning rate, more rows for each step and fewer epochs than naive fine-tuning."""
    naive, careful = (load_recipe(name).trainer for name in ("baseline", "conservative"))

    def rows(trainer: dict[str, Any]) -> int:
        size: int = trainer["per_device_train_batch_size"] * trainer["gradient_accumulation_steps"]
        return size

    assert careful["learning_rate"] < naive["learning_rate"] / 2
    assert rows(careful) > 2 * rows(naive)
    assert careful["num_train_epochs"] < naive["num_train_epochs"]
