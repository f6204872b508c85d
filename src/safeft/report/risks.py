"""The table of risk axes: each recipe's rate, the un-tuned model's, and what multiple it is."""

from __future__ import annotations

import math
from dataclasses import replace

from safeft.records import Estimate, Row
from safeft.report.cells import Cell, difference_cell, estimate_cell, heading, interval
from safeft.report.section import Section
from safeft.report.view import OVERALL, View

MULTIPLIER = "multiplier_"
BIASES = ("ambiguous_bias", "disambiguated_bias", "ambiguous_accuracy", "disambiguated_accuracy")
UNTUNED = "untuned"


def risks(view: View) -> Section:
    """Every axis on which recipes were compared with the un-tuned model."""
    multiplied = {
        replace(row, metric=row.metric.removeprefix(MULTIPLIER)): value
        for row, value in view.estimates.items()
        if row.metric.startswith(MULTIPLIER)
    }
    biased = [
        row
        for row in view.estimates
        if row.metric in BIASES and (row, UNTUNED) in view.differences and row.group == OVERALL
    ]
    rows = [*multiplied, *biased]
    return Section(
        key="risks",
        title="Risk against the un-tuned model",
        caption="Each axis of risk as a multiple of the un-tuned model's [Fieller's "
        f"{view.document.percent} interval] and as a difference [simultaneous over recipes]. Where "
        "the un-tuned rate may be nothing there is no multiple. Toxicity is the mean score of the "
        "answers, or of the worst of a prompt's draws; a bias score is 1 for the stereotype "
        "throughout and -1 for its opposite, and worth nothing for a model that guesses.",
        columns=("axis", "recipe", "t", "un-tuned", "tuned", "multiple", "difference"),
        rows=tuple(_row(view, row, multiplied.get(row)) for row in rows),
    )


def _row(view: View, row: Row, multiple: Estimate | None) -> tuple[Cell, ...]:
    base = _untuned(view, row)
    difference = view.difference(row, UNTUNED)
    judge = f", judge {row.judge}" if row.judge else ""
    return (
        Cell(f"{heading(row.metric)} ({row.suite}{judge})"),
        Cell(view.document.name(row.recipe)),
        Cell(f"{row.temperature:g}"),
        estimate_cell(base, row.metric),
        estimate_cell(view.estimates.get(row), row.metric),
        _multiple(multiple),
        difference_cell(difference) if difference else Cell("n/a"),
    )


def _untuned(view: View, row: Row) -> Estimate | None:
    """The same metric of the un-tuned model; epochs and engines may differ."""
    wanted = replace(row, recipe=UNTUNED, epoch=0)
    found = (v for r, v in view.estimates.items() if replace(r, engine=row.engine) == wanted)
    return next(found, None)


def _multiple(value: Estimate | None) -> Cell:
    if value is None or not math.isfinite(value.estimate):
        return Cell("undefined")
    ends = interval(value.low, value.high, "ratio") if value.low != value.high else "(no interval)"
    return Cell(f"{value.estimate:.2f}×", ends, sort=value.estimate)
