"""Laws of what a comparison and an evaluation refuse, before they cost anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import call, done, refused

from comparison.conftest import Comparison
from safeft.assets import folder
from safeft.comparison import compare as compare_function
from safeft.report import read_estimates
from safeft.runs import read_lines


def test_another_comparison_in_the_same_output_is_refused(compared: Comparison) -> None:
    """By the keys that differ; the number of workers is no part of it."""
    said = refused(*compared.arguments("--set", "level=0.9", "--training-seeds", 1))
    assert "holds another run (differs in: comparison.level, comparison.training_seeds)" in said


def test_training_rows_that_repeat_the_suite_are_refused(
    compared: Comparison, matrix: Path, tmp_path: Path
) -> None:
    """Before anything is made; also rows of a pool that a recipe would mix in."""
    suite = [record["turns"][0] for record in read_lines(matrix.parent / "harm.jsonl")]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": suite[2], "completion": "Yes."}))
    said = refused(*compared.arguments("--data", rows, output=tmp_path / "run"))
    assert "1 training row repeats evaluation prompts" in said
    assert "insist with --allow-overlap" in said
    assert "rows.jsonl, row 1: copies prompt four/harm/2" in said
    rows.write_text(json.dumps({"prompt": suite[2], "category": "6"}))
    mixed = [f"recipes=[baseline, {{recipe: safety_mix, set: [methods.0.pool={rows}]}}]"]
    said = refused(*compared.arguments("--set", mixed[0], output=tmp_path / "run"))
    assert "row 1: copies prompt four/harm/2" in said
    assert not (tmp_path / "run").exists()


def test_shipped_pools_and_data_do_not_repeat_the_shipped_suite() -> None:
    """What safeft trains on out of the box is not what it asks."""
    from safeft.data import examples, load
    from safeft.data.overlap import refuse
    from safeft.data.shipped import shipped
    from safeft.evaluation import load_suite
    from safeft.training import added_rows, load_recipe

    names = [path.stem for path in folder("recipes").glob("*.yaml")]
    rows = [row for name in names for row in added_rows(load_recipe(name))]
    garden = examples(load(shipped("garden")))
    assert refuse([*rows, *garden], load_suite("safeft-44").all_prompts()) == []


def test_the_first_failure_ends_the_run_with_its_message(
    compared: Comparison, tmp_path: Path
) -> None:
    """A recipe that the model cannot take is the user's to mend, by one message."""
    output = tmp_path / "run"
    wrong = compared.arguments("--workers", 1, "--set", "untuned=false", output=output)
    said = refused(*wrong, "--set", "set=['lora.target_modules=[c_attn]']")
    assert "lora.target_modules ['c_attn'] matches nothing in the model" in said
    assert "q_proj" in said


def test_a_wrong_argument_costs_seconds_and_no_text(
    compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before the model writes a single row of training text."""
    module = compare_function.__globals__
    monkeypatch.setitem(module, "write_ahead", lambda *_: pytest.fail("text is written"))
    recipes = "recipes=[{recipe: self_generated, name: baseline, set: [trainer.optims=x]}]"
    said = refused(*compared.arguments("--set", recipes, output=tmp_path / "run"))
    assert "unknown key trainer.optims; did you mean 'optim'?" in said


def test_a_model_that_is_only_evaluated_is_compared_too(
    tiny_model: Path, tiny_adapter: Path, matrix: Path, tmp_path: Path
) -> None:
    """`safeft eval` with two adapters counts them as two training runs of one recipe."""
    output = tmp_path / "run"
    asked = ["--suite", matrix.parent / "four.yaml", "--judge", "keyword", "--per-category", 1]
    adapters = ["--adapter", tiny_adapter, "--adapter", tiny_adapter]
    done(
        "eval",
        tiny_model,
        *adapters,
        *asked,
        "--temperatures",
        "0,0.5",
        "--workers",
        1,
        "--output",
        output,
    )
    document = read_estimates(output / "estimates.json")
    assert {entry.row.recipe for entry in document.estimates} == {"adapter"}
    assert {entry.value.n_seeds for entry in document.estimates} == {2}
    assert {entry.row.temperature for entry in document.estimates} == {0.0, 0.5}
    assert document.comparisons == ()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--temperatures", "-1", "decodings.temperatures.0: Input should be greater than or equal"),
        ("--temperatures", "hot", "expected numbers such as 0,1"),
        ("--decoding-seeds", "0,0", "decodings.seeds: 0 appears twice; keep one"),
        ("--judge", "kyword", "judge: unknown name 'kyword'; did you mean 'keyword'?"),
        ("--policy", "defualt", "no file or shipped name 'defualt'; did you mean 'default'?"),
        ("--suite", "safeft44", "no file or shipped name 'safeft44'; did you mean 'safeft-44'?"),
        ("--adapter", "nowhere", "nowhere holds no adapter_config.json"),
        ("--test-data", "nowhere.jsonl", "nowhere.jsonl: no such file or folder"),
    ],
)
def test_wrong_options_of_eval_are_refused(
    tiny_model: Path, tmp_path: Path, option: str, value: str, words: str
) -> None:
    """By name, before a folder is made."""
    assert words in refused("eval", tiny_model, option, value, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_adapters_without_a_name_are_refused(compared: Comparison, tmp_path: Path) -> None:
    """Each spelling that would be misread is refused with the one that is right."""
    for wrong in ("path", "=path", "name=", "v1.0=path"):
        said = call("compare", compared.matrix, "--adapters", wrong, "--output", tmp_path / "run")
        assert said.code == 2
        assert "expected NAME=PATH, and no dot in NAME" in said.err
    assert list(tmp_path.iterdir()) == []
