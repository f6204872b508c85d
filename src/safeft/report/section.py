"""What a table is, and the cells that several tables share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from safeft.records import Row
from safeft.report.cells import TIMES, Cell, estimate_cell
from safeft.report.view import Column, View

JUDGED = ("refusal_rate", "neither_rate")


@dataclass(frozen=True, slots=True)
class Headed:
    """A part of the report: `key` is its anchor in the page."""

    key: str
    title: str


Part = TypeVar("Part", bound=Headed)


@dataclass(frozen=True, slots=True)
class Section(Headed):
    """One table; `heat` asks for tinted cells."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heat: bool = False


@dataclass(frozen=True, slots=True)
class Picture(Headed):
    """One figure of the page, and words for those who cannot see it."""

    words: str
    svg: str


def each(view: View, make: Callable[[View], Part | None]) -> Iterator[Part]:
    """What is made of each part of the view, told apart by who judged."""
    for place, part in enumerate(view.parts):
        found = make(part)
        if found is not None and len(view.parts) > 1:
            title = f"{found.title}, judge {', '.join(part.judges)}"
            found = replace(found, key=f"{found.key}-{place}" if place else found.key, title=title)
        if found is not None:
            yield found


def legend(view: View) -> str:
    """How a cell is read."""
    return (
        f"Value [{view.document.percent} interval] n=prompts{TIMES}training seeds; rates in "
        "percent, their differences in percentage points. In round brackets the smallest and the "
        "largest training run, where there are several."
    )


def judged(view: View, row: Row, metrics: Iterable[str]) -> tuple[Cell, ...]:
    """Metrics of the same answers and judge."""
    return tuple(estimate_cell(view.value(row, metric), metric) for metric in metrics)


def elsewhere(view: View, row: Row, columns: Iterable[Column]) -> tuple[Cell, ...]:
    """Metrics with suites of their own."""
    found = ((column.metric, view.elsewhere(row, column)) for column in columns)
    return tuple(estimate_cell(pair[1] if pair else None, metric) for metric, pair in found)


def headings(view: View, columns: Sequence[Column]) -> tuple[str, ...]:
    """The columns of metrics with suites of their own."""
    return tuple(column_heading(view, column, columns) for column in columns)


def column_heading(view: View, column: Column, columns: Sequence[Column]) -> str:
    """A suite or judge is named where the metric was measured by more than one."""
    same = [o for o in columns if (o.metric, o.harmless) == (column.metric, column.harmless)]
    suite = column.suite if len({other.suite for other in same}) > 1 else ""
    judge = column.judge if len({other.judge for other in same}) > 1 else ""
    where = ", ".join(part for part in (suite, judge) if part)
    name = view.document.heading(column.metric, column.judge)
    name = f"{name} of harmless" if column.harmless else name
    return f"{name} ({where})" if where else name
