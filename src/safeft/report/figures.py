"""What the page draws: forest plot, rates by epoch, variance bars."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from safeft.records import Estimate, Row, VarianceRow
from safeft.report.cells import heading, size
from safeft.report.drawing import FULFILMENT as FULFILMENT_COLOUR
from safeft.report.drawing import GRID, INK, REFUSAL, draw
from safeft.report.section import Picture, each
from safeft.report.sections import several_epochs
from safeft.report.trade_off import trade_off
from safeft.report.trust import circumstances
from safeft.report.view import FULFILMENT, Line, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_ROW = 3
HOLLOW: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "linestyle": "none"}


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric over the epochs; it differs from its sibling in more than its colour."""

    metric: str
    style: dict[str, Any]


CURVES = (
    Curve("fulfilment_rate", {"color": FULFILMENT_COLOUR, "marker": "o", "linestyle": "-"}),
    Curve("refusal_rate", {"color": REFUSAL, "marker": "s", "linestyle": "--"}),
)


@dataclass(frozen=True, slots=True)
class Point:
    """An interval to draw, with the training runs behind it, in percent."""

    middle: float
    low: float
    high: float
    runs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One column of the forest plot: a point, or none, per line."""

    title: str
    points: tuple[Point | None, ...]
    difference: bool = False


def pictures(view: View) -> tuple[Picture, ...]:
    """Every figure that has something to show. Raises ImportError without matplotlib."""
    drawn = (trade_off(view), *each(view, forest), *each(view, epochs), variance(view))
    return tuple(picture for picture in drawn if picture is not None)


def forest(view: View) -> Picture | None:
    """Intervals of every recipe, one dot per training run behind each."""
    panels = [panel for panel in _panels(view) if any(panel.points)]
    if not panels:
        return None
    names = [_wrapped(line.name, 44, 2) for line in view.lines]
    paint = partial(_paint_forest, names=names, panels=panels)
    return Picture(
        key="forest",
        title="Intervals and training runs",
        words="Forest plot of " + ", ".join(panel.title for panel in panels) + ". Diamonds are "
        f"estimates, lines their {view.document.percent} intervals, hollow dots single training "
        "runs, thin lines from the smallest to the largest of them. The numbers stand in the "
        "verdict table.",
        svg=draw(paint, 10, 1.2 + 0.45 * len(names), _salt(view, "forest")),
    )


def _panels(view: View) -> list[Panel]:
    """Fulfilment, its difference from the reference, and each over-refusal suite."""
    rows = [line.row for line in view.lines]
    points = (_point(view, row, view.estimates.get(row), FULFILMENT) for row in rows)
    panels = [Panel(f"{view.heading(FULFILMENT)} (%)", tuple(points))]
    if view.reference:
        title = f"vs {view.document.name(view.reference)} (pp)"
        differences = (_difference(view, row) for row in rows)
        panels.append(Panel(title, tuple(differences), difference=True))
    refused = [column for column in view.columns if column.metric == "over_refusal_rate"]
    several = len({column.judge for column in refused}) > 1
    for column in refused:
        found = (view.elsewhere(row, column) for row in rows)
        points = (_point(view, *pair, column.metric) if pair else None for pair in found)
        judge = f", {column.judge}" if several else ""
        title = f"{heading(column.metric)}, {column.suite}{judge} (%)"
        panels.append(Panel(title, tuple(points)))
    return panels


def _point(view: View, row: Row, value: Estimate | None, metric: str) -> Point | None:
    return _drawn(value, view.runs(row, metric))


def _drawn(value: Estimate | None, runs: Sequence[float]) -> Point | None:
    if value is None or not math.isfinite(value.estimate):
        return None
    ends = (_percent(value.low), _percent(value.high))
    return Point(_percent(value.estimate), *ends, tuple(map(_percent, runs)))


def _difference(view: View, row: Row) -> Point | None:
    entry = view.difference(row, view.reference)
    if entry is None or not math.isfinite(entry.difference):
        return None
    return Point(_percent(entry.difference), _percent(entry.low), _percent(entry.high))


def _wrapped(name: str, width: int, lines: int) -> str:
    """A name that leaves room for what is drawn beside it; the table has it whole."""
    return "\n".join(textwrap.wrap(name, width, max_lines=lines, placeholder=" …"))


def _percent(value: float) -> float:
    return 100 * value


def _paint_forest(figure: Figure, names: Sequence[str], panels: Sequence[Panel]) -> None:
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for height, point in enumerate(panel.points):
            if point is not None:
                _paint_point(axes, height, point)
        if panel.difference:
            axes.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(panel.title)
        axes.tick_params(left=False)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names if place == 0 else [""] * len(names))


def _paint_point(axes: Axes, height: float, point: Point) -> None:
    if math.isfinite(point.low) and math.isfinite(point.high):
        axes.plot([point.low, point.high], [height] * 2, color=FULFILMENT_COLOUR, linewidth=2)
    # A little below the interval: a run next to the estimate would vanish behind its diamond.
    if point.runs:
        ends = [min(point.runs), max(point.runs)]
        axes.plot(ends, [height + 0.22] * 2, color=INK, linewidth=0.8)
    axes.plot(point.runs, [height + 0.22] * len(point.runs), color=INK, markersize=5, **HOLLOW)
    axes.plot(point.middle, height, marker="D", markersize=7, color=FULFILMENT_COLOUR)


def epochs(view: View) -> Picture | None:
    """Fulfilment and refusal over the epochs, one small plot per recipe."""
    lines = several_epochs(view)
    names = list(dict.fromkeys(line.name for line in lines))
    if not names:
        return None
    grouped = {
        _counted(view, part): part
        for part in ([line for line in lines if line.name == name] for name in names)
    }
    name = view.heading(FULFILMENT)
    rows = math.ceil(len(names) / PER_ROW)
    return Picture(
        key="curves",
        title=f"{name.capitalize()} and refusal by epoch",
        words=f"One plot per recipe: {name} is the solid line with round markers, refusal the "
        f"dashed line with square markers, bands are {view.document.percent} intervals, hollow "
        "dots single training runs, thin lines from the smallest to the largest of them, n prompts "
        "by training seeds: those that were asked at every epoch. The numbers stand in the table "
        "by epoch.",
        svg=draw(
            partial(_paint_epochs, view=view, grouped=grouped),
            10,
            0.5 + 2.4 * rows,
            _salt(view, "epochs"),
        ),
    )


def _salt(view: View, name: str) -> str:
    """Figures of several judges on one page keep identifiers of their own."""
    return "-".join((name, *view.judges))


def _counted(view: View, lines: list[Line]) -> str:
    """The recipe with the n that all of its epochs have."""
    value = view.on_curve(lines[-1].row, view.estimates.get(lines[-1].row))
    return f"{lines[0].name}, {size(value)}" if value else lines[0].name


def _paint_epochs(figure: Figure, view: View, grouped: dict[str, list[Line]]) -> None:
    across = min(PER_ROW, len(grouped))
    down = math.ceil(len(grouped) / across)
    for place, (name, lines) in enumerate(grouped.items()):
        axes = figure.add_subplot(down, across, place + 1)
        for curve in CURVES:
            _paint_curve(axes, view, lines, curve)
        axes.set(
            title=textwrap.fill(name, 34),
            ylim=(-3, 103),
            xticks=sorted({line.row.epoch for line in lines}),
        )
        axes.set(xlabel="epoch", ylabel="" if place % across else "%")
        if place == 0:
            axes.legend(loc="best", fontsize=8)


def _paint_curve(axes: Axes, view: View, lines: list[Line], curve: Curve) -> None:
    """The line of estimates over its band, with the training runs."""
    rows = [replace(line.row, metric=curve.metric) for line in lines]
    values = [view.on_curve(row, view.estimates.get(row)) for row in rows]
    runs = view.runs_on_curve(rows, curve.metric)
    drawn = zip(rows, map(_drawn, values, runs), strict=True)
    points = [(row, point) for row, point in drawn if point]
    epochs = [row.epoch for row, _ in points]
    low, high = [point.low for _, point in points], [point.high for _, point in points]
    colour = curve.style["color"]
    axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    for row, point in points:
        places = [row.epoch] * len(point.runs)
        axes.plot(places, point.runs, color=colour, markersize=3, **HOLLOW)
        if point.runs:
            axes.vlines(row.epoch, min(point.runs), max(point.runs), color=colour, linewidth=0.8)
    middles = [point.middle for _, point in points]
    axes.plot(epochs, middles, label=view.heading(curve.metric), markersize=5, **curve.style)


def variance(view: View) -> Picture | None:
    """The standard deviation that each source adds to the fulfilment rate."""
    entries = [entry for entry in view.document.variance if entry.metric == FULFILMENT]
    drawn = [entry for entry in entries if math.isfinite(entry.standard_deviation)]
    if not drawn:
        return None
    names = [_wrapped(_source(view, entry), 72, 1) for entry in drawn]
    return Picture(
        key="variance-bars",
        title="Where the spread of fulfilment comes from",
        words="Bars of the standard deviation of each source for each recipe, with "
        f"{view.document.percent} intervals. {circumstances(view)} The numbers stand in the "
        "variance table.",
        svg=draw(
            partial(_paint_variance, names=names, entries=drawn),
            10,
            1 + 0.26 * len(drawn),
            "variance",
        ),
    )


def _source(view: View, entry: VarianceRow) -> str:
    suites = {other.suite for other in view.document.variance}
    suite = f", {entry.suite}" if len(suites) > 1 else ""
    return f"{view.document.name(entry.recipe)}{suite}: {entry.component.replace('_', ' ')}"


def _paint_variance(figure: Figure, names: list[str], entries: list[VarianceRow]) -> None:
    axes = figure.add_subplot()
    heights = range(len(entries))
    deviations = [_percent(entry.standard_deviation) for entry in entries]
    axes.barh(heights, deviations, height=0.6, color=GRID, edgecolor=INK, linewidth=0.6)
    for height, entry in zip(heights, entries, strict=True):
        if math.isfinite(entry.low) and math.isfinite(entry.high):
            ends = [_percent(entry.low), _percent(entry.high)]
            axes.plot(ends, [height] * 2, color=FULFILMENT_COLOUR, linewidth=1.6, marker="|")
    axes.set_yticks(heights, names)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_xlabel("standard deviation (percentage points)")
