"""Laws of a comparison: what it leaves, that it repeats, and that a kill changes no number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from processes import done

from comparison.conftest import HARM, Comparison, options
from safeft.report import read_estimates
from safeft.runs import read_json, read_lines

Numbers = Callable[[Path], dict[str, Any]]
DOCS = Path(__file__).parents[2] / "docs/estimates.md"


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


def test_every_report_names_its_engine(compared: Comparison) -> None:
    """In the page, the Markdown and the table of every row."""
    for name in ("report.md", "report.html"):
        text = (compared.output / name).read_text()
        assert "engine" in text and "transformers" in text.partition("engine")[2]
    rows = read_estimates(compared.output / "estimates.json")
    assert rows.provenance["engine"] == "transformers"


def test_every_metric_and_component_is_documented(compared: Comparison) -> None:
    """A reader can look up whatever a line is called."""
    document = read_estimates(compared.output / "estimates.json")
    metrics = {entry.row.metric for entry in document.estimates}
    assert metrics <= documented()["Metrics"]
    assert {"flip_rate", "gain_share", "over_refusal_rate", "train_seconds"} <= metrics
    assert "stability_index" in metrics
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


def stored(compared: Comparison, field: str) -> list[str]:
    """A field of the baseline's greedy verdicts on harmful requests, last epoch, all seeds."""
    return [
        record[field]
        for path in compared.output.glob("cells/*/epoch-2/four/harm/t0/verdicts.keyword.none.jsonl")
        if read_json(path.parents[4] / "cell.json")["name"] == "baseline"
        for record in read_lines(path)
    ]


def test_a_rate_is_the_share_of_its_verdicts(compared: Comparison) -> None:
    """Counted by hand from the files: seeds × prompts, last epoch, greedy."""
    document = read_estimates(compared.output / "estimates.json")
    labels = stored(compared, "label")
    assert len(labels) == 2 * 4
    for metric, label in (("fulfilment_rate", "fulfilled"), ("neither_rate", "neither")):
        (value,) = [
            entry.value.estimate
            for entry in document.estimates
            if (entry.row.recipe, entry.row.epoch, entry.row.metric) == ("baseline", 2, metric)
            and entry.row.temperature == 0
            and entry.row.group == "overall"
            and entry.row.suite == "four"  # not its look-alikes
        ]
        assert value == pytest.approx(labels.count(label) / 8)


def test_answers_that_were_cut_off_are_counted(compared: Comparison) -> None:
    """Twelve tokens end few answers: their share is in the estimates, from the files themselves."""
    document = read_estimates(compared.output / "estimates.json")
    ends = stored(compared, "finish")
    (found,) = [
        entry.value
        for entry in document.estimates
        if (entry.row.recipe, entry.row.metric) == ("baseline", "cut_off_rate")
        and entry.row.temperature == 0
    ]
    assert 0 < found.estimate == pytest.approx(ends.count("length") / 8)
    assert "cut off" in (compared.output / "report.md").read_text()


def test_seconds_are_of_the_whole_training(compared: Comparison) -> None:
    """They stand at the last epoch only: nobody measured half a training."""
    document = read_estimates(compared.output / "estimates.json")
    found = [entry.row for entry in document.estimates if entry.row.metric == "train_seconds"]
    assert {(row.recipe, row.epoch) for row in found} == {("baseline", 2), ("frozen", 2)}


def test_a_recipe_that_does_not_learn_is_labelled(compared: Comparison) -> None:
    """A learning rate of almost zero keeps nothing of the reference's gain; given adapters vary."""
    document = read_estimates(compared.output / "estimates.json")
    # Models this tiny answer in fragments, which is said of each of them.
    assert document.labels["frozen"] == "did not learn, often incoherent"
    assert document.labels["baseline"] == document.labels["untuned"] == "often incoherent"
    assert "frozen (did not learn, often incoherent)" in (compared.output / "report.md").read_text()


def test_text_that_cells_share_is_written_once(
    compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they start side by side; each recipe's notes say what its method did."""
    module = import_module("safeft.training.train")  # the name itself is the function
    write, loads = module.generator_of, []
    monkeypatch.setattr(module, "generator_of", lambda *given: loads.append(1) or write(*given))
    recipe = "{recipe: self_generated, name: baseline, set: [methods.0.max_new_tokens=4]}"
    changes = [f"recipes=[{recipe}]", "untuned=false", "decodings.temperatures=[0]"]
    changed = options(*changes, "set.0=trainer.num_train_epochs=1")
    done(*compared.arguments("--workers", 1, *changed, output=tmp_path / "run"))
    assert len(loads) == 1
    assert len(list((tmp_path / "run/written").glob("written-*.jsonl"))) == 1
    notes = read_estimates(tmp_path / "run/estimates.json").notes
    told = re.compile(r"baseline( \([a-z, ]+\))?: self_generated: rows 16; ")
    assert any(map(told.match, notes))
