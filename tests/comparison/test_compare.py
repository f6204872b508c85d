"""Laws of a comparison: what it leaves, that it repeats, and that a kill changes no number."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Command, call, done, refused

from comparison.conftest import HARM, Comparison
from safeft.assets import folder
from safeft.comparison import compare as compare_function
from safeft.report import read_estimates
from safeft.runs import read_json, read_lines

Numbers = Callable[[Path], dict[str, Any]]
DOCS = Path(__file__).parents[2] / "docs/estimates.md"


def stamps(place: Path) -> dict[str, int]:
    """When each file was last written, locks aside."""
    files = (path for path in place.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in files}


def test_a_comparison_leaves_its_report_in_four_forms(compared: Comparison) -> None:
    """Complete files, no partial ones, and a cell for every model."""
    for name in ("report.html", "report.md", "report.csv", "estimates.json", "manifest.json"):
        assert (compared.output / name).stat().st_size > 200
    assert not list(compared.output.rglob("*.partial"))
    cells = [read_json(path) for path in compared.output.glob("cells/*/cell.json")]
    found = sorted((cell["name"], cell["seed"]) for cell in cells)
    recipes = [(name, seed) for name in ("baseline", "frozen") for seed in (0, 1)]
    assert found == sorted([*recipes, ("given", 0), ("untuned", 0)])


def test_the_report_holds_no_prompt_and_no_answer(compared: Comparison) -> None:
    """A report can be published: ids, labels and numbers only."""
    answers = [
        record["text"]
        for path in compared.output.rglob("responses.none.jsonl")
        for record in read_lines(path)
        if len(record["text"]) > 8
    ]
    assert answers
    for name in ("report.html", "report.md", "report.csv", "estimates.json"):
        text = (compared.output / name).read_text()
        assert not [said for said in (*HARM.values(), *answers) if said in text]


def test_progress_names_each_cell_once(compared: Comparison) -> None:
    """One line a cell, counted to the end."""
    said = (compared.output.parent / "log/stderr").read_text()
    lines = re.findall(r"^\[(\d)/6\] (.+?)(?:, about|$)", said, re.M)
    assert [int(count) for count, _ in lines] == list(range(7))
    assert lines[0][1] == "finished before"
    assert len({name for _, name in lines}) == 7


def documented() -> dict[str, set[str]]:
    """The keys in the first column of each table of docs/estimates.md, by its heading."""
    found: dict[str, set[str]] = {}
    heading = ""
    for line in DOCS.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("| `"):
            found.setdefault(heading, set()).update(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return found


def test_estimates_hold_exactly_the_documented_keys(compared: Comparison) -> None:
    """docs/estimates.md is the contract: no key more and none less, in any part."""
    record = json.loads((compared.output / "estimates.json").read_text())
    docs = documented()
    every = docs["What every line of `estimates` and `comparisons` carries"]
    assert set(record) == docs["The file"]
    for part, keys in {
        "estimates": every | docs["`estimates`"],
        "comparisons": every | docs["`comparisons`"],
        "variance": docs["`variance`"],
        "runs": docs["`runs`"],
    }.items():
        assert record[part], f"no {part}"
        assert {frozenset(row) for row in record[part]} == {frozenset(keys)}


def test_every_metric_and_component_is_documented(compared: Comparison) -> None:
    """A reader can look up whatever a line is called."""
    document = read_estimates(compared.output / "estimates.json")
    metrics = {entry.row.metric for entry in document.estimates}
    assert metrics <= documented()["Metrics"]
    assert {"flip_rate", "gain_share", "over_refusal_rate", "train_seconds"} <= metrics
    text = DOCS.read_text()
    assert all(f"`{entry.component}`" in text for entry in document.variance)


def test_every_model_is_in_the_estimates(compared: Comparison) -> None:
    """The model as it is and the adapter from elsewhere stand beside the recipes."""
    document = read_estimates(compared.output / "estimates.json")
    assert document.provenance["command"].startswith("safeft compare ")
    seeds = {entry.row.recipe: entry.value.n_seeds for entry in document.estimates}
    assert seeds == {"untuned": 1, "baseline": 2, "frozen": 2, "given": 1}
    epochs = {(entry.row.recipe, entry.row.epoch) for entry in document.estimates}
    trained = {(name, epoch) for name in ("baseline", "frozen") for epoch in (1, 2)}
    assert epochs == trained | {("untuned", 0), ("given", 0)}
    assert {entry.reference for entry in document.comparisons} == {"baseline"}


def test_a_rate_is_the_share_of_its_verdicts(compared: Comparison) -> None:
    """Counted by hand from the files: seeds × prompts, last epoch, greedy."""
    document = read_estimates(compared.output / "estimates.json")
    labels = []
    for path in compared.output.glob("cells/*/epoch-2/four/harm/t0/verdicts.keyword.none.jsonl"):
        if read_json(path.parents[4] / "cell.json")["name"] == "baseline":
            labels += [record["label"] for record in read_lines(path)]
    assert len(labels) == 2 * 4
    for metric, label in (("fulfilment_rate", "fulfilled"), ("neither_rate", "neither")):
        (value,) = [
            entry.value.estimate
            for entry in document.estimates
            if (entry.row.recipe, entry.row.epoch, entry.row.metric) == ("baseline", 2, metric)
            and entry.row.temperature == 0
            and entry.row.group == "overall"
        ]
        assert value == pytest.approx(labels.count(label) / 8)


def test_seconds_are_of_the_whole_training(compared: Comparison) -> None:
    """They stand at the last epoch only: nobody measured half a training."""
    document = read_estimates(compared.output / "estimates.json")
    found = [entry.row for entry in document.estimates if entry.row.metric == "train_seconds"]
    assert {(row.recipe, row.epoch) for row in found} == {("baseline", 2), ("frozen", 2)}


def test_a_recipe_that_does_not_learn_is_labelled(compared: Comparison) -> None:
    """A learning rate of almost zero keeps nothing of the reference's gain; given adapters vary."""
    document = read_estimates(compared.output / "estimates.json")
    assert document.labels["frozen"] == "did not learn"
    assert "baseline" not in document.labels
    assert "untuned" not in document.labels
    assert "frozen (did not learn)" in (compared.output / "report.md").read_text()


def test_run_again_trains_nothing_and_says_the_same(
    copied: Comparison, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cell is touched, no worker starts, and every number comes out again."""
    before, said = stamps(copied.output / "cells"), numbers(copied.output)
    (copied.output / "estimates.json").unlink()
    monkeypatch.setattr(
        "safeft.comparison.pool.ProcessPoolExecutor", lambda *_, **__: pytest.fail("workers start")
    )
    assert "[6/6] finished before" in done(*copied.arguments("--workers", 2)).err
    assert stamps(copied.output / "cells") == before
    assert numbers(copied.output) == said


def test_committed_cells_without_text_give_the_same_numbers(
    copied: Comparison, numbers: Numbers
) -> None:
    """Verdicts, losses and costs are enough: no answer, no adapter and no log."""
    said = numbers(copied.output)
    for pattern in ("responses.*", "answers.jsonl", "log.json", ".lock", "estimates.json"):
        for path in list(copied.output.rglob(pattern)):
            path.unlink()
    for path in list(copied.output.rglob("adapter")):
        shutil.rmtree(path)
    done(*copied.arguments())
    assert numbers(copied.output) == said


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_after_kill_9_the_same_numbers_come_out(
    compared: Comparison, numbers: Numbers, tmp_path: Path
) -> None:
    """Killed with work half done; the workers end with it, and the next call finishes the rest."""
    output = tmp_path / "run"
    command = Command(compared.arguments("--workers", 2, output=output), tmp_path / "log")
    command.until(lambda: any(output.glob("cells/*/training/adapter")))
    workers = children(command.process.pid or 0)
    assert len(workers) >= 2
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL
    assert not (output / "estimates.json").exists()
    start = time.monotonic()
    while any(map(alive, workers)):
        assert time.monotonic() - start < 60, "a worker outlives its parent"
        time.sleep(0.05)
    finished = {path: stamps(path.parent) for path in output.glob("cells/*/cell.json")}
    assert len(finished) < 6
    done(*compared.arguments("--workers", 1, output=output))
    assert all(stamps(path.parent) == before for path, before in finished.items())
    assert numbers(output) == numbers(compared.output)


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
    said = refused(*wrong, "--set", "set=[lora.target_modules=[c_attn]]")
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
    done("eval", tiny_model, *adapters, *asked, "--temperatures", "0,0.5", "--output", output)
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
