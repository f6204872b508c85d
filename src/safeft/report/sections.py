"""The tables of a report, once for Markdown, HTML and the terminal."""

from __future__ import annotations

from dataclasses import replace

from safeft.records import Estimate, Row
from safeft.report.cells import ONE_RUN, Cell, bounds, difference_cell, estimate_cell
from safeft.report.differences import checkpoints, comparisons
from safeft.report.groups import by_category, by_domain
from safeft.report.risks import risks
from safeft.report.section import JUDGED, Section, each, elsewhere, headings, judged, legend
from safeft.report.trust import incoherence, validity, variance, varying
from safeft.report.view import (
    FULFILMENT,
    WHOLE,
    Column,
    Line,
    View,
    indifferent,
    unguarded,
)

__all__ = [
    "Section",
    "by_category",
    "by_domain",
    "by_epoch",
    "checkpoints",
    "comparisons",
    "guarded",
    "headline",
    "risks",
    "sections",
    "several_epochs",
    "validity",
    "variance",
    "varying",
]


UNLEARNED = "did not learn"  # the label that its share of the gain explains


def sections(view: View) -> tuple[Section, ...]:
    """Every table that has something to say, in reading order."""
    tables = (
        *view.document.tables,
        *each(view, headline),
        corrected(view),
        published(view),
        risks(view),
        comparisons(view),
        checkpoints(view),
        *each(view, by_epoch),
        *each(view, by_domain),
        *each(view, by_category),
        *each(view, guarded),
        *each(view, validity),
        *each(view, incoherence),
        variance(view),
        varying(view),
    )
    return tuple(table for table in tables if table.rows)


def headline(view: View) -> Section:
    """One line per recipe at its last epoch, without a guardrail."""
    difference = (f"vs {view.document.name(view.reference)}",) * bool(view.reference)
    columns = ("recipe", "epoch", FULFILMENT, *JUDGED)
    names = [view.heading(name) for name in columns]
    others = _read(view)
    return Section(
        key="verdict",
        title="Verdict",
        caption=f"Each recipe at its last epoch. {legend(view)} Bounds are the lowest and the "
        "highest rate that answers which are neither fulfilled nor refused allow. The "
        "differences' intervals are simultaneous over all recipes, and their p-values adjusted.",
        columns=(*names[:3], *difference, *names[3:], *headings(view, others)),
        rows=tuple(_headline_row(view, line, others) for line in view.lines),
    )


def corrected(view: View) -> Section:
    """The fulfilment that people would have counted, where a run was labelled."""
    found = [e for e in view.document.estimates if e.row.metric == "fulfilment_corrected"]
    return Section(
        key="corrected",
        title="Corrected by labels",
        caption="The judge's fulfilment rate, and the same corrected by blind labels of the "
        f"recipe's own answers. {legend(view)}",
        columns=("recipe", "judge", "temperature", "fulfilment", "corrected", "method"),
        rows=tuple(
            (
                Cell(view.document.name(one.row.recipe)),
                Cell(one.row.judge),
                Cell(f"{one.row.temperature:g}", sort=one.row.temperature),
                estimate_cell(view.value(one.row, FULFILMENT), FULFILMENT),
                estimate_cell(one.value, one.row.metric),
                Cell(one.value.method),
            )
            for one in found
        ),
    )


def published(view: View) -> Section:
    """The benchmark's leaderboard with the run's own lines among it."""
    theirs = [e for e in view.document.estimates if e.row.metric == "published_rate"]
    judges = {e.row.judge for e in theirs}
    rows = [(_published_row(e.row.recipe, "published", e.value), e.value.estimate) for e in theirs]
    for line in view.lines if theirs else ():
        value = view.estimates.get(line.row)
        if value is not None and line.row.judge in judges:
            rows.append((_published_row(line.name, "this run", value), value.estimate))
    return Section(
        key="published",
        title="Beside the published leaderboard",
        caption="Published rates are one sampled answer a prompt (temperature 0.7) of one model, "
        f"by the same judge; their interval is over prompts alone. {legend(view)}",
        columns=("model", "from", "fulfilment"),
        rows=tuple(row for row, _ in sorted(rows, key=lambda pair: pair[1])),
    )


def _published_row(name: str, source: str, value: Estimate) -> tuple[Cell, ...]:
    return Cell(name), Cell(source), estimate_cell(value, FULFILMENT)


def _read(view: View) -> tuple[Column, ...]:
    """What stands beside the rates; what could not be read has its place under validity."""
    return tuple(column for column in view.columns if column.metric != "unread_rate")


def _headline_row(view: View, line: Line, others: tuple[Column, ...]) -> tuple[Cell, ...]:
    row = line.row
    low, high = (view.value(row, name) for name in ("fulfilment_low", "fulfilment_high"))
    value = estimate_cell(view.estimates.get(row), FULFILMENT)
    cells = [
        _recipe(view, line),
        _epoch(line),
        replace(value, bounds=bounds(low, high, FULFILMENT)),
    ]
    if view.reference:
        cells.append(_difference(view, row))
    return (*cells, *judged(view, row, JUDGED), *elsewhere(view, row, others))


def _recipe(view: View, line: Line) -> Cell:
    """The name; beside its label what the recipe keeps of the gain, with the interval."""
    column = next((x for x in view.columns if x.metric == "gain_share"), None)
    found = view.elsewhere(line.row, column) if column else None
    label = view.document.labels.get(line.row.recipe, "")
    if UNLEARNED not in label or found is None:
        return Cell(line.name)
    kept = estimate_cell(found[1], "gain_share")
    only = f" {ONE_RUN}" if ONE_RUN in kept.size else ""
    return Cell(line.name, interval=f"keeps {kept.value} {kept.interval} of the gain{only}")


def _epoch(line: Line) -> Cell:
    return Cell(str(line.row.epoch), sort=line.row.epoch)


def _difference(view: View, row: Row) -> Cell:
    if row.recipe == view.reference:
        return Cell("reference", sort=0.0)
    return difference_cell(view.difference(row, view.reference))


def by_epoch(view: View) -> Section:
    """Each recipe's path, where more than one epoch was measured."""
    others = tuple(column for column in _read(view) if column.metric not in WHOLE)
    judged = (FULFILMENT, *JUDGED)
    return Section(
        key="epochs",
        title="By epoch",
        caption="Over the training seeds that were asked at every epoch, so that one recipe's "
        f"lines are about the same runs. {legend(view)}",
        columns=("recipe", "epoch", *map(view.heading, judged), *headings(view, others)),
        rows=tuple(_epoch_row(view, line, judged, others) for line in several_epochs(view)),
    )


def _epoch_row(
    view: View, line: Line, metrics: tuple[str, ...], others: tuple[Column, ...]
) -> tuple[Cell, ...]:
    rows = [replace(line.row, metric=metric) for metric in metrics]
    found = [(row, view.estimates.get(row)) for row in rows]
    found += [
        view.elsewhere(line.row, x) or (replace(line.row, metric=x.metric), None) for x in others
    ]
    cells = (estimate_cell(view.on_curve(row, value), row.metric) for row, value in found)
    return (Cell(line.name), _epoch(line), *cells)


def several_epochs(view: View) -> tuple[Line, ...]:
    """The unguarded lines of recipes that were measured at more than one epoch."""
    lines = [line for line in view.epochs if unguarded(line.row)]
    several = {name for name in {x.name for x in lines} if sum(x.name == name for x in lines) > 1}
    return tuple(line for line in lines if line.name in several)


def guarded(view: View) -> Section:
    """The same recipes with and without a guardrail."""
    recipes = {line.row.recipe for line in view.last if not unguarded(line.row)}
    others = tuple(column for column in _read(view) if not indifferent(column.metric))
    rows = (
        (
            Cell(view.document.name(line.row.recipe)),
            Cell("off" if unguarded(line.row) else line.row.policy),
            Cell(_circumstance(line.row)),
            *judged(view, line.row, (FULFILMENT, *JUDGED)),
            *elsewhere(view, line.row, others),
        )
        for line in view.last
        if line.row.recipe in recipes
    )
    names = map(view.heading, (FULFILMENT, *JUDGED))
    return Section(
        key="guard",
        title="Guardrail off and on",
        caption=f"Each recipe at its last epoch. {legend(view)}",
        columns=("recipe", "guardrail", "suite", *names, *headings(view, others)),
        rows=tuple(rows),
    )


def _circumstance(row: Row) -> str:
    return ", ".join(part for part in (row.suite, row.judge, f"t={row.temperature:g}") if part)
