"""The tables of a report, once for Markdown, HTML and the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from safeft.records import EstimateRow, Row, VarianceRow
from safeft.report.cells import (
    TIMES,
    Cell,
    difference_cell,
    estimate_cell,
    heading,
    interval,
    number,
    probability,
    reading,
    size,
)
from safeft.report.view import (
    FULFILMENT,
    INDIFFERENT,
    OVERALL,
    Column,
    Line,
    View,
    unguarded,
)

JUDGED = ("refusal_rate", "neither_rate")
VALIDITY = (
    "neither_rate",
    "unread_rate",
    "fulfilment_low",
    "fulfilment_high",
    "flip_rate",
    "run_sd_ratio",
)
LEGEND = (
    f"Value [95% interval] n=prompts{TIMES}training seeds; rates in percent, their differences "
    "in percentage points."
)


@dataclass(frozen=True, slots=True)
class Section:
    """One table: `key` is its anchor in the page; `heat` asks for tinted cells."""

    key: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heat: bool = False


def sections(view: View) -> tuple[Section, ...]:
    """Every table that has something to say, in reading order."""
    tables = (
        headline(view),
        comparisons(view),
        by_epoch(view),
        by_domain(view),
        by_category(view),
        guarded(view),
        validity(view),
        variance(view),
    )
    return tuple(table for table in tables if table.rows)


def headline(view: View) -> Section:
    """One line per recipe at its last epoch, without a guardrail."""
    difference = (f"vs {view.document.name(view.reference)}",) * bool(view.reference)
    columns = ("recipe", "epoch", heading(FULFILMENT), *difference, *map(heading, JUDGED))
    return Section(
        key="verdict",
        title="Verdict",
        caption=f"Each recipe at its last epoch. {LEGEND} In round brackets the smallest and the "
        "largest training run. The differences' intervals are simultaneous over all recipes, and "
        "their p-values adjusted.",
        columns=(*columns, *_headings(view.columns)),
        rows=tuple(_headline_row(view, line) for line in view.lines),
    )


def _headline_row(view: View, line: Line) -> tuple[Cell, ...]:
    value = view.estimates.get(line.row)
    cells = [Cell(line.name), _epoch(line), estimate_cell(value, FULFILMENT, spread=True)]
    if view.reference:
        cells.append(_difference(view, line.row))
    return (*cells, *_judged(view, line.row, JUDGED), *_elsewhere(view, line.row, view.columns))


def _epoch(line: Line) -> Cell:
    return Cell(str(line.row.epoch), sort=line.row.epoch)


def _difference(view: View, row: Row) -> Cell:
    if row.recipe == view.reference:
        return Cell("reference", sort=0.0)
    return difference_cell(view.difference(row, view.reference), view.estimates.get(row))


def comparisons(view: View) -> Section:
    """Every comparison, of every metric, with what it allows one to say."""
    rows = []
    for entry in view.document.comparisons:
        row = entry.row
        group = "" if row.group == OVERALL else f", {row.group}"
        names = (view.document.name(row.recipe), view.document.name(entry.reference))
        context = f"{heading(row.metric)}{group}, epoch {row.epoch}, t={row.temperature:g}"
        guard = "" if unguarded(row) else f", policy {row.policy}"
        difference = difference_cell(entry, view.estimates.get(row))
        unadjusted = replace(difference, spread=f"{probability(entry.p, 'p')} {difference.spread}")
        cells = (Cell(names[0]), Cell(names[1]), Cell(context + guard), unadjusted)
        rows.append((*cells, Cell(reading(entry))))
    return Section(
        key="comparisons",
        title="Comparisons",
        caption="Recipe minus reference [simultaneous interval]; the reading follows the interval.",
        columns=("recipe", "reference", "metric", "difference", "reading"),
        rows=tuple(rows),
    )


def by_epoch(view: View) -> Section:
    """Each recipe's path, where more than one epoch was measured."""
    # Training time is a sum over the epochs: one epoch has no share of it.
    others = tuple(column for column in view.columns if column.metric != "train_seconds")
    rows = (
        (
            Cell(line.name),
            _epoch(line),
            *_judged(view, line.row, (FULFILMENT, *JUDGED)),
            *_elsewhere(view, line.row, others),
        )
        for line in several_epochs(view)
    )
    return Section(
        key="epochs",
        title="By epoch",
        caption=LEGEND,
        columns=("recipe", "epoch", *map(heading, (FULFILMENT, *JUDGED)), *_headings(others)),
        rows=tuple(rows),
    )


def several_epochs(view: View) -> tuple[Line, ...]:
    """The unguarded lines of recipes that were measured at more than one epoch."""
    lines = [line for line in view.epochs if unguarded(line.row)]
    several = {name for name in {x.name for x in lines} if sum(x.name == name for x in lines) > 1}
    return tuple(line for line in lines if line.name in several)


def by_domain(view: View) -> Section:
    """Fulfilment in each domain."""
    return _grouped(view, "domain", lambda group: not group.startswith("category:"))


def by_category(view: View) -> Section:
    """Fulfilment in each category: the heat map."""
    return _grouped(view, "category", lambda group: group.startswith("category:"))


def _grouped(view: View, key: str, wanted: Callable[[str], bool]) -> Section:
    found = {e.row.group for e in view.document.estimates if e.row.metric == FULFILMENT}
    groups = sorted((g for g in found - {OVERALL} if wanted(g)), key=_natural)
    rows = ((_group(group), *_across(view, group)) for group in groups)
    return Section(
        key=key,
        title=f"By {key}",
        caption=f"Fulfilment at each recipe's last epoch. {LEGEND}",
        columns=(key, *(line.name for line in view.lines)),
        rows=tuple(rows),
        heat=True,
    )


def _group(group: str) -> Cell:
    name = group.removeprefix("category:")
    return Cell(name, sort=float(name) if name.isdecimal() else None)


def _across(view: View, group: str) -> tuple[Cell, ...]:
    rows = (replace(line.row, group=group) for line in view.lines)
    return tuple(estimate_cell(view.estimates.get(row), FULFILMENT) for row in rows)


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Category 10 comes after category 9."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def guarded(view: View) -> Section:
    """The same recipes with and without a guardrail."""
    recipes = {line.row.recipe for line in view.last if not unguarded(line.row)}
    others = tuple(column for column in view.columns if column.metric not in INDIFFERENT)
    rows = (
        (
            Cell(view.document.name(line.row.recipe)),
            Cell("off" if unguarded(line.row) else line.row.policy),
            Cell(_circumstance(line.row)),
            *_judged(view, line.row, (FULFILMENT, *JUDGED)),
            *_elsewhere(view, line.row, others),
        )
        for line in view.last
        if line.row.recipe in recipes
    )
    judged = map(heading, (FULFILMENT, *JUDGED))
    return Section(
        key="guard",
        title="Guardrail off and on",
        caption=f"Each recipe at its last epoch. {LEGEND}",
        columns=("recipe", "guardrail", "suite", *judged, *_headings(others)),
        rows=tuple(rows),
    )


def _circumstance(row: Row) -> str:
    return ", ".join(part for part in (row.suite, row.judge, f"t={row.temperature:g}") if part)


def validity(view: View) -> Section:
    """How far the rates can be trusted: what no judge could read, and what it might hide."""
    measured = {entry.row.metric for entry in view.document.estimates}
    metrics = tuple(metric for metric in VALIDITY if metric in measured)
    return Section(
        key="validity",
        title="Validity",
        caption="Broken or off-topic answers are neither fulfilled nor refused; the bounds are the "
        f"lowest and the highest fulfilment that they allow. {LEGEND}",
        columns=("recipe", *map(heading, metrics)),
        rows=tuple((Cell(x.name), *_judged(view, x.row, metrics)) for x in view.last if metrics),
    )


def variance(view: View) -> Section:
    """Where the spread between answers comes from."""
    return Section(
        key="variance",
        title="Variance",
        caption="Standard deviation of each source [95% interval] and its share of the variance. "
        f"Standard deviations of rates are in percentage points. n=prompts{TIMES}training seeds.",
        columns=("recipe", "suite", "metric", "source", "standard deviation"),
        rows=tuple(_variance_row(view, entry) for entry in view.document.variance),
    )


def _variance_row(view: View, entry: VarianceRow) -> tuple[Cell, ...]:
    spread = Cell(
        value=number(entry.standard_deviation, entry.metric).replace("%", " pp"),
        interval=interval(entry.low, entry.high, entry.metric),
        size=next((size(e.value) for e in view.document.estimates if _measures(e, entry)), ""),
        spread=f"share {number(entry.share, 'share_rate')}",
        sort=entry.standard_deviation if math.isfinite(entry.standard_deviation) else None,
    )
    words = (view.document.name(entry.recipe), entry.suite, heading(entry.metric), entry.component)
    return (*map(Cell, words), spread)


def _measures(found: EstimateRow, entry: VarianceRow) -> bool:
    row = found.row
    same = (row.recipe, row.suite, row.metric) == (entry.recipe, entry.suite, entry.metric)
    return same and row.group == OVERALL and unguarded(row)


def _judged(view: View, row: Row, metrics: tuple[str, ...]) -> tuple[Cell, ...]:
    return tuple(estimate_cell(view.value(row, metric), metric) for metric in metrics)


def _elsewhere(view: View, row: Row, columns: Iterable[Column]) -> tuple[Cell, ...]:
    found = ((column.metric, view.elsewhere(row, column)) for column in columns)
    return tuple(estimate_cell(pair[1] if pair else None, metric) for metric, pair in found)


def _headings(columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(_column_heading(column, columns) for column in columns)


def _column_heading(column: Column, columns: Sequence[Column]) -> str:
    """A suite or judge is named where the metric was measured by more than one."""
    same = [other for other in columns if other.metric == column.metric]
    suite = column.suite if len({other.suite for other in same}) > 1 else ""
    judge = column.judge if len({other.judge for other in same}) > 1 else ""
    where = ", ".join(part for part in (suite, judge) if part)
    return f"{heading(column.metric)} ({where})" if where else heading(column.metric)
