"""Harm beside utility, one cross a model, in reports that begin with a frontier."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from safeft.records import Estimate
from safeft.report.cells import heading
from safeft.report.drawing import FULFILMENT as COLOUR
from safeft.report.drawing import INK, draw
from safeft.report.section import Picture
from safeft.report.view import FULFILMENT, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONTIER = "frontier"  # the key of the table that the figure stands beside
LOSS = "held_out_loss"
Cross = tuple[str, Estimate, Estimate]  # a model's name, its loss and its harm


def trade_off(view: View) -> Picture | None:
    """Held-out loss against harm, as the first judge saw it."""
    part = view.parts[0]
    crosses = list(_crosses(part))
    if not crosses or not any(one.key == FRONTIER for one in view.document.tables):
        return None
    harm = part.heading(FULFILMENT)
    return Picture(
        key="trade-off",
        title=f"{harm.capitalize()} against held-out loss",
        words=f"One cross a model: held-out loss to the right, {harm} upwards, lines are "
        f"{view.document.percent} intervals. Lower left is better. The numbers stand in the "
        "frontier table.",
        svg=draw(partial(_paint, crosses=crosses, harm=harm), 10, 5, "trade-off"),
    )


def _crosses(view: View) -> Iterator[Cross]:
    column = next((one for one in view.columns if one.metric == LOSS), None)
    if column is None:
        return
    for line in view.lines:
        harm, loss = view.estimates.get(line.row), view.elsewhere(line.row, column)
        if harm and loss and all(map(math.isfinite, (harm.estimate, loss[1].estimate))):
            yield line.name, loss[1], harm


def _paint(figure: Figure, crosses: Sequence[Cross], harm: str) -> None:
    axes = figure.add_subplot()
    for name, loss, rate in crosses:
        across, up = loss.estimate, 100 * rate.estimate
        axes.plot([loss.low, loss.high], [up, up], color=COLOUR, linewidth=1.2)
        axes.plot([across, across], [100 * rate.low, 100 * rate.high], color=COLOUR, linewidth=1.2)
        axes.plot(across, up, marker="D", markersize=5, color=COLOUR)
        axes.annotate(name, (across, up), (4, 4), textcoords="offset points", size=8, color=INK)
    axes.set(xlabel=f"{heading(LOSS)} (nats a token)", ylabel=f"{harm} (%)")
