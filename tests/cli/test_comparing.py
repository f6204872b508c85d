"""Laws of `safeft compare`: from a YAML, from options, or from both; nothing here trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import refused

import safeft.comparison
from safeft.comparison import Matrix
from safeft.comparison.matrix import Variant
from safeft.errors import ConfigError

YAML = "model: m\ndata: d\nrecipes: [baseline, safety_mix]\ntraining_seeds: 4\nper_category: 1\n"
LINE_15 = ["--recipes", "baseline", "--model", "testbed:aligned", "--data", "garden"]
Understood = Callable[..., Matrix]


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Understood:
    """The comparison that the real command line makes of these words, instead of running it."""
    heard: list[Matrix] = []

    def compare(matrix: Matrix, *_: Any, **__: Any) -> None:
        heard.append(matrix)
        raise ConfigError("heard")

    def ask(*words: object) -> Matrix:
        assert refused("compare", *words, "--output", tmp_path / "run") == "error: heard"
        return heard.pop()

    monkeypatch.setattr(safeft.comparison, "compare", compare)
    return ask


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    """A comparison as a file."""
    (tmp_path / "matrix.yaml").write_text(YAML)
    return tmp_path / "matrix.yaml"


def test_options_alone_are_a_comparison(understood: Understood) -> None:
    """The command of the README's second form: no file is needed."""
    matrix = understood(*LINE_15, "--training-seeds", 2)
    assert matrix == Matrix(
        model="testbed:aligned",
        data="garden",
        recipes=[Variant(recipe="baseline")],
        training_seeds=[0, 1],
    )


def test_options_win_over_the_file(understood: Understood, yaml: Path) -> None:
    """Each key that an option gives; the others stay, and `--set` reaches them."""
    matrix = understood(yaml, *LINE_15, "--training-seeds", "3,7", "--set", "per_category=2")
    assert (matrix.model, matrix.data) == ("testbed:aligned", "garden")
    assert matrix.recipe_names() == ["baseline"]
    assert (matrix.training_seeds, matrix.per_category) == ([3, 7], 2)
    assert understood(yaml).training_seeds == [0, 1, 2, 3]


def test_recipes_are_repeated_or_listed(understood: Understood) -> None:
    """Both ways of giving several come to the same."""
    several = ["--recipes", "safety_mix, self_generated"]
    assert understood(*LINE_15, *several).recipe_names() == [
        "baseline",
        "safety_mix",
        "self_generated",
    ]


def test_seeds_are_counted_or_named(understood: Understood) -> None:
    """A number is how many; a comma makes it a list."""
    counts = {"1": [0], "3": [0, 1, 2], "3,": [3], "0,5": [0, 5]}
    for text, seeds in counts.items():
        assert understood(*LINE_15, "--training-seeds", text).training_seeds == seeds


def test_adapters_alone_are_a_comparison(understood: Understood) -> None:
    """Models that were trained elsewhere need neither a recipe nor data."""
    given = ["--model", "m", "--adapters", "a=x,y", "--adapters", "b=z"]
    matrix = understood(*given, "--set", "reference=a", "--set", "decodings.seeds=[1, 2]")
    assert matrix.adapters == {"a": ["x", "y"], "b": ["z"]}
    assert (matrix.recipes, matrix.decodings.seeds) == ([], [1, 2])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a MATRIX (a YAML), or give --model with --recipes"),
        (["--model", "m"], "name a MATRIX (a YAML"),
        (["--recipes", "baseline", "--data", "d"], "options: model: missing; add it"),
        (["--recipes", "baseline", "--model", "m"], "options: data: recipes need training data"),
        ([*LINE_15, "--set", "sed=1"], "options: sed: unknown key; did you mean 'set'?"),
        ([*LINE_15, "--training-seeds", "0"], "'0': expected how many, such as 5, or which"),
        ([*LINE_15, "--training-seeds", "x"], "'x': expected how many, such as 5, or which"),
        ([*LINE_15, "--training-seeds", "-1,"], "'-1,': expected how many, such as 5, or which"),
        ([*LINE_15, "--training-seeds", "1,1"], "training_seeds: 1 appears twice; keep one"),
        ([*LINE_15, "--data", "no.jsonl"], "no.jsonl: no such file or folder"),
        ([*LINE_15, "--model", "testbed:algined"], "no testbed model 'algined'"),
        ([*LINE_15, "--recipes", "basline"], "no file or shipped name 'basline'; did you mean"),
    ],
)
def test_what_is_missing_or_wrong_is_said(words: list[str], said: str, tmp_path: Path) -> None:
    """By the option or the key, before a folder is made."""
    assert said in refused("compare", *words, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()
