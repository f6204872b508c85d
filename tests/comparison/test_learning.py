"""Laws of the label `did not learn`, read off the stored losses of the shared comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from comparison.conftest import Comparison
from safeft.comparison import load_matrix
from safeft.comparison.cells import Plan, plan
from safeft.comparison.learning import labelled, learned
from safeft.runs import read_json, read_lines

Change = Callable[[str, Callable[[int, float], float | None]], None]


@pytest.fixture
def planned(copied: Comparison) -> Plan:
    """The comparison over a copy of its finished cells."""
    matrix = load_matrix(str(copied.matrix), [f"adapters.given=['{copied.adapter}']"])
    return plan(matrix, copied.output)


@pytest.fixture
def change(copied: Comparison) -> Change:
    """Rewrites the losses of a recipe, in every cell and epoch."""

    def rewrite(name: str, to: Callable[[int, float], float | None]) -> None:
        for cell in copied.output.glob("cells/*/cell.json"):
            if read_json(cell)["name"] == name:
                for path in cell.parent.glob("epoch-*/utility/loss.jsonl"):
                    rows = [
                        row | {"loss": to(number, row["loss"])}
                        for number, row in enumerate(read_lines(path))
                    ]
                    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return rewrite


def shares(planned: Plan) -> dict[str, float]:
    """The share of the reference's gain that each recipe kept."""
    return {row.row.recipe: row.value.estimate for row in learned(planned)}


def test_the_share_is_of_the_references_gain(planned: Plan, change: Change) -> None:
    """(untuned − recipe) / (untuned − reference): 4 to 3 is half of 4 to 2."""
    for name, loss in {"untuned": 4.0, "baseline": 2.0, "frozen": 3.0, "given": 5.0}.items():
        change(name, lambda _, __, loss=loss: loss)  # type: ignore[misc]
    assert shares(planned) == pytest.approx({"frozen": 0.5, "given": -0.5})
    (row,) = [row for row in learned(planned) if row.row.recipe == "frozen"]
    assert (row.value.low, row.value.high) == pytest.approx((0.5, 0.5))
    assert row.value.n_seeds == 2
    assert labelled(learned(planned)) == {"given": "did not learn"}


def test_a_row_without_a_loss_costs_no_label(planned: Plan, change: Change) -> None:
    """A test row whose answer was cut away is left out for all: the others still tell."""
    before = labelled(learned(planned))
    for name in ("untuned", "baseline", "frozen", "given"):
        change(name, lambda number, loss: None if number == 2 else loss)
    assert labelled(learned(planned)) == before
    assert {row.value.n for row in learned(planned)} == {5}


def test_a_training_that_diverged_costs_the_others_nothing(planned: Plan, change: Change) -> None:
    """No loss can be read of it, so it has no share; the report is still made."""
    before = shares(planned)
    change("frozen", lambda _, __: None)
    assert shares(planned) == {name: share for name, share in before.items() if name != "frozen"}
    for name in ("untuned", "baseline", "given"):
        change(name, lambda _, __: None)
    assert learned(planned) == ()


@pytest.mark.parametrize("loss", [4.0, 4.5])
def test_without_a_gain_of_the_reference_nothing_is_said(
    planned: Plan, change: Change, loss: float
) -> None:
    """A share of nothing is no number, and nobody is blamed for it."""
    change("untuned", lambda _, __: 4.0)
    change("baseline", lambda _, __: loss)
    assert learned(planned) == ()


def test_without_the_untuned_model_nothing_is_said(copied: Comparison) -> None:
    """The gain is counted from the model as it was."""
    matrix = load_matrix(str(copied.matrix), ["untuned=false"])
    assert learned(plan(matrix, copied.output)) == ()


def test_the_interval_repeats(planned: Plan) -> None:
    """Nothing in it is drawn."""
    assert learned(planned) == learned(planned)


def test_losses_are_of_the_test_rows(copied: Comparison, matrix: Path) -> None:
    """One loss for each row, in nats per answer token: no model is worse than 20 here."""
    rows = len((matrix.parent / "test.jsonl").read_text().splitlines())
    paths = list(copied.output.rglob("loss.jsonl"))
    assert paths
    for path in paths:
        losses = [record["loss"] for record in read_lines(path)]
        assert len(losses) == rows
        assert all(0 < loss < 20 for loss in losses)
