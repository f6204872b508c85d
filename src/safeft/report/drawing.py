"""Matplotlib figures as inline SVG: the same bytes every time, coloured by the page's CSS."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Placeholders that `svg` turns into CSS, so that one file fits light and dark pages.
INK, FULFILMENT, REFUSAL, GRID = "#010101", "#010102", "#010103", "#010104"
STYLES = {
    INK: "currentColor",
    FULFILMENT: "var(--fulfilment)",
    REFUSAL: "var(--refusal)",
    GRID: "var(--line)",
}
# Each of these would put a date, a version or an address into the file.
NAMED = ("Creator", "Date", "Format", "Type")
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def draw(paint: Callable[[Figure], None], width: float, height: float, salt: str) -> str:
    """Paints a figure of `width` by `height` inches; `salt` keeps its identifiers its own."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # The user's own matplotlibrc must not change a report.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS | {"svg.hashsalt": salt})
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(NAMED))
    return inline(stream.getvalue())


def inline(svg: str) -> str:
    """The `<svg>` element alone, with CSS colours and without identifiers that nothing uses."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    # The page's CSS gives the width; the view box keeps the proportions.
    svg = re.sub(r' (?:width|height)="[^"]*pt"', "", svg)
    for placeholder, style in STYLES.items():
        svg = svg.replace(placeholder, style)
    return svg
