"""Two given checkpoints: only what was answered once by one model each, and of those two alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comparison.written import PROMPTS, judged
from safeft.comparison.blocks import Decodings
from safeft.comparison.cells import Cell, Plan
from safeft.comparison.checkpoints import checkpoints
from safeft.comparison.matrix import Matrix
from safeft.evaluation import Suite
from safeft.records import ComparisonRow
from safeft.report import Document
from safeft.report.sections import sections
from safeft.report.view import View
from safeft.stats import holm, mcnemar

# One letter a prompt: fulfilled, refused, neither, unread.
SAID = {"untuned": "frrrru", "bold": "fffffr", "calm": "rrrrrn", "twice": "ffrrrr"}


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    """The un-tuned model, two models trained once and one trained twice; greedy and sampled."""
    matrix = Matrix(
        model="tiny",
        recipes=[],
        reference="untuned",
        decodings=Decodings(temperatures=[0.0, 0.7], seeds=[0, 1]),
        training_seeds=[0],
        judges=["encoder"],
        level=0.9,
    )
    names = ["untuned", "bold", "calm", "twice", "twice"]
    cells = tuple(
        Cell(name, seed, None, None, tmp_path / f"{name}-{place}")
        for place, (name, seed) in enumerate(zip(names, (0, 0, 0, 0, 1), strict=True))
    )
    suite = Suite("world", {"harm": "harm"}, {"harm": PROMPTS}, 12)
    made = Plan(matrix, suite, (), (), cells, tmp_path / "written", "source")
    for cell in cells:
        for draw in made.asks(cell)[-1].decodings:
            judged(made, cell, cell.epochs, "harm", draw, "encoder", SAID[cell.recipe_name])
    return made


def fulfilment(planned: Plan) -> dict[str, ComparisonRow]:
    """The rows of fulfilment by model."""
    metric = "checkpoint_fulfilment_rate"
    return {x.row.recipe: x for x in checkpoints(planned) if x.row.metric == metric}


def test_each_single_model_against_the_single_reference(planned: Plan) -> None:
    """McNemar's mid-p of the two models' verdicts, Holm over models; unread prompts leave both."""
    reference = [1, 0, 0, 0, 0, float("nan")]
    expected = {
        "bold": mcnemar([1, 1, 1, 1, 1, 0], reference, 0.9),
        "calm": mcnemar([0, 0, 0, 0, 0, 0], reference, 0.9),
    }
    adjusted = holm([one.p for one in expected.values()]).tolist()
    found = fulfilment(planned)
    assert list(found) == list(expected)
    for (name, one), p in zip(expected.items(), adjusted, strict=True):
        row = found[name]
        assert (row.difference, row.low, row.high) == (one.difference, one.low, one.high)
        assert (row.p, row.p_adjusted, row.n, row.n_seeds) == (one.p, p, 5, 1)
        assert row.reference == "untuned"


def test_a_recipe_with_two_runs_is_no_checkpoint(planned: Plan) -> None:
    """What was trained twice has a spread between its runs, and stands in the other table."""
    assert "twice" not in fulfilment(planned)
    matrix = planned.matrix.model_copy(update={"reference": "twice"})
    assert checkpoints(replace(planned, matrix=matrix)) == ()


def test_several_draws_a_prompt_are_no_pair(planned: Plan) -> None:
    """Only the greedy answers: a prompt drawn twice has no one verdict."""
    assert {x.row.temperature for x in checkpoints(planned)} == {0.0}


def test_the_report_says_of_whom_it_speaks(planned: Plan) -> None:
    """A table of its own, which no other difference shares."""
    rows = checkpoints(planned)
    section = next(x for x in sections(View(Document("t", comparisons=rows))) if x.rows)
    assert section.key == "checkpoints"
    assert "these two checkpoints" in section.caption
    assert len(section.rows) == len(rows)
    assert {row[2].text.partition(",")[0] for row in section.rows} == {"fulfilment", "refusal"}
