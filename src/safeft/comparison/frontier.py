"""Harm beside utility: which repaired adapters nothing else beats, and which one to take."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from safeft.errors import DataError
from safeft.records import ComparisonRow, Estimate, Row
from safeft.report import Document
from safeft.report.cells import Cell, difference_cell, estimate_cell, heading, shows
from safeft.report.section import Section
from safeft.report.trade_off import FRONTIER

HARM, LOSS = "fulfilment_rate", "held_out_loss"
ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Point:
    """One adapter: its harm and loss, and both minus the original's (None for the original)."""

    name: str
    harm: Estimate
    loss: Estimate
    harm_difference: ComparisonRow | None = None
    loss_difference: ComparisonRow | None = None

    def within(self, allowed: float) -> bool:
        """Whether its loss rose by at most `allowed` nats, the interval's upper end included."""
        rise = self.loss_difference
        if rise is None:
            return self.name == ORIGINAL
        return shows(rise) and rise.high <= allowed

    def beats(self, other: Point) -> bool:
        """Whether it is no worse in both and better in one, by the estimates."""
        mine = self.harm.estimate, self.loss.estimate
        theirs = other.harm.estimate, other.loss.estimate
        return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]


@dataclass(frozen=True, slots=True)
class Frontier:
    """All adapters, what the loss may rise by, and the one to take."""

    points: tuple[Point, ...]
    epsilon: float
    harm: str  # what the judge's positive verdict is called

    @property
    def original(self) -> Point:
        """The adapter as it came."""
        return next(one for one in self.points if one.name == ORIGINAL)

    @property
    def allowed(self) -> float:
        """By how many nats a token the held-out loss may rise."""
        return self.epsilon * self.original.loss.estimate

    @property
    def pick(self) -> Point:
        """The least harmful whose loss is shown to stay within ε; the original, if none is."""
        kept = [one for one in self.points if one.within(self.allowed)]
        return min(kept, key=lambda one: (one.harm.estimate, one.loss.estimate))

    def best(self, point: Point) -> bool:
        """Whether no other adapter beats it."""
        return not any(other.beats(point) for other in self.points)


def frontier(
    document: Document, names: Sequence[str], judge: str, temperature: float, epsilon: float
) -> Frontier:
    """The adapters of a finished comparison by harm (one judge, one temperature) and utility.

    Raises DataError when nothing could be read of the original.
    """
    harm = dict(_estimates(document, HARM, judge, temperature))
    loss = dict(_estimates(document, LOSS, "", None))
    less = dict(_differences(document, HARM, judge, temperature))
    more = dict(_differences(document, LOSS, "", None))
    for found, cure in ((harm, f"judge {judge!r}: choose another"), (loss, "--test-data")):
        if ORIGINAL not in found:
            raise DataError(f"nothing could be read of the original adapter ({cure})")
    points = tuple(
        Point(name, harm[name], loss[name], less.get(name), more.get(name))
        for name in names
        if name in harm and name in loss
    )
    return Frontier(points, epsilon, document.heading(HARM, judge))


def _estimates(
    document: Document, metric: str, judge: str, temperature: float | None
) -> Iterator[tuple[str, Estimate]]:
    for one in document.estimates:
        if _is(one.row, metric, judge, temperature) and math.isfinite(one.value.estimate):
            yield one.row.recipe, one.value


def _differences(
    document: Document, metric: str, judge: str, temperature: float | None
) -> Iterator[tuple[str, ComparisonRow]]:
    for one in document.comparisons:
        if one.reference == ORIGINAL and _is(one.row, metric, judge, temperature):
            yield one.row.recipe, one


def _is(row: Row, metric: str, judge: str, temperature: float | None) -> bool:
    plain = row.group == "overall" and row.policy == "none"
    return (
        plain
        and (row.metric, row.judge) == (metric, judge)
        and temperature in (None, row.temperature)
    )


def table(found: Frontier, strengths: Mapping[str, float]) -> Section:
    """The frontier as the first table of the report."""
    heads = found.harm, heading(LOSS)
    return Section(
        key=FRONTIER,
        title="Frontier",
        caption=f"Each adapter's harm and its loss on held-out rows of the task. Within ε: the "
        f"loss rises by at most {100 * found.epsilon:g}% of the original's "
        f"({found.allowed:.3f} nats a token), the upper end of its interval included. Frontier: "
        "no other adapter is better in one and no worse in the other, by the estimates.",
        columns=(
            "adapter",
            "strength",
            heads[0],
            f"{heads[0]} vs {ORIGINAL}",
            heads[1],
            f"{heads[1]} vs {ORIGINAL}",
            "within ε",
            "frontier",
            "pick",
        ),
        rows=tuple(_line(found, one, strengths.get(one.name, math.nan)) for one in found.points),
    )


def _line(found: Frontier, point: Point, strength: float) -> tuple[Cell, ...]:
    marks = point.within(found.allowed), found.best(point), point is found.pick
    return (
        Cell(point.name),
        Cell(f"{strength:g}" if math.isfinite(strength) else "–", sort=strength),
        estimate_cell(point.harm, HARM),
        difference_cell(point.harm_difference),
        estimate_cell(point.loss, LOSS),
        difference_cell(point.loss_difference),
        *(Cell("yes" if mark else "no", sort=float(mark)) for mark in marks),
    )


COLUMNS = (
    *("adapter", "strength"),
    *(f"{name}{end}" for name in (HARM, LOSS) for end in ("", "_low", "_high", "_n")),
    *(f"{name}_difference{end}" for name in (HARM, LOSS) for end in ("", "_low", "_high", "_n")),
    *("epsilon", "within_epsilon", "frontier", "pick"),
)


def frontier_csv(found: Frontier, strengths: Mapping[str, float]) -> str:
    """One line an adapter, every number with its interval and n; what is not there is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found.points:
        values = [*_numbers(one.harm), *_numbers(one.loss)]
        values += [*_numbers(one.harm_difference), *_numbers(one.loss_difference)]
        marks = found.epsilon, one.within(found.allowed), found.best(one), one is found.pick
        strength = strengths.get(one.name, "")
        writer.writerow([one.name, strength, *values, *map(str, marks)])
    return stream.getvalue()


def _numbers(value: Estimate | ComparisonRow | None) -> tuple[object, ...]:
    if value is None:
        return ("",) * 4
    middle = value.estimate if isinstance(value, Estimate) else value.difference
    ends = (one if math.isfinite(one) else "" for one in (middle, value.low, value.high))
    return (*ends, value.n)


def said(found: Frontier) -> tuple[str, ...]:
    """The pick in words, and what stands against it."""
    pick = found.pick
    harm, loss = estimate_cell(pick.harm, HARM).text, estimate_cell(pick.loss, LOSS).text
    words = [f"Pick: {pick.name}, with {found.harm} {harm} and held-out loss {loss}."]
    if pick.name == ORIGINAL:
        words.append(
            "No edit is both less harmful and shown to keep the loss within ε: the original "
            "stays. Raise --epsilon, or give more --test-data to narrow the intervals."
        )
    elif not (pick.harm_difference and pick.harm_difference.high < 0):
        words.append("That the pick is less harmful than the original is not shown.")
    if near := _near(found):
        words.append(
            f"{near.name} is less harmful ({estimate_cell(near.harm, HARM).text}), and its loss is "
            "within ε by the estimate but not by its interval; more --test-data would tell."
        )
    return tuple(words)


def _near(found: Frontier) -> Point | None:
    """The least harmful that only its interval keeps from being picked."""
    better = [
        one
        for one in found.points
        if not one.within(found.allowed)
        and one.loss.estimate - found.original.loss.estimate <= found.allowed
        and one.harm.estimate < found.pick.harm.estimate
    ]
    return min(better, key=lambda one: one.harm.estimate, default=None)
