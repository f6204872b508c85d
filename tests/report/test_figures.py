"""Figures: drawn from what is there, silent about what is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from safeft.records import Estimate, EstimateRow
from safeft.report import Document, figures
from safeft.report.drawing import FULFILMENT, INK, draw
from safeft.report.view import View

Paint = Callable[[Figure], None]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The Matplotlib figures behind the SVG."""
    kept: list[Figure] = []

    def keep(paint: Paint, width: float, height: float, salt: str) -> str:
        kept.append(Figure(figsize=(width, height)))
        paint(kept[-1])
        return salt

    monkeypatch.setattr(figures, "draw", keep)
    return kept


def points(line: Line2D) -> int:
    """How many points a line has."""
    return len(np.atleast_1d(line.get_xdata()))


def hollow(figure: Figure) -> list[int]:
    """How many training runs each panel shows."""
    lines = [[line for line in axes.lines if line.get_marker() == "o"] for axes in figure.axes]
    runs = [[x for x in found if x.get_markerfacecolor() == "none"] for found in lines]
    return [sum(map(points, found)) for found in runs]


def test_one_dot_per_training_run(document: Document, drawn: list[Figure]) -> None:
    """Three runs behind each of four intervals; a difference has none."""
    figures.forest(View(document))
    assert hollow(drawn[0]) == [12, 0, 0]
    assert [axes.get_title() for axes in drawn[0].axes] == [
        "fulfilment (%)",
        "vs naive (pp)",
        "over-refusal, xstest (%)",
    ]


def test_a_line_from_the_smallest_run_to_the_largest(
    document: Document, drawn: list[Figure]
) -> None:
    """As the source paper draws its five seeds: under each of four intervals, through its dots."""
    figures.forest(View(document))
    lines = drawn[0].axes[0].lines
    dots = [one.get_xdata() for one in lines if one.get_markerfacecolor() == "none"]
    spans = [sorted(one.get_xdata()) for one in lines if one.get_linewidth() == 0.8]
    assert [[min(one), max(one)] for one in dots] == spans
    assert len(spans) == 4


def test_each_judge_has_its_own_dots(two_judges: Document, drawn: list[Figure]) -> None:
    """Eight lines with three runs each, not six; and panels that can be told apart."""
    figures.forest(View(two_judges))
    assert hollow(drawn[0]) == [24, 0, 0, 0]
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles[2:] == ["over-refusal, xstest, keyword (%)", "over-refusal, xstest, reader (%)"]


def test_what_was_not_refused_is_no_fulfilment(refusals_too: Document, drawn: list[Figure]) -> None:
    """A judge of refusals has a forest and curves of its own, headed by what it sees."""
    found = {picture.key: picture.title for picture in figures.pictures(View(refusals_too))}
    assert found["forest"] == "Intervals and training runs, judge reader"
    assert found["curves-1"] == "Not refused and refusal by epoch, judge keyword"
    titles = [figure.axes[0].get_title() for figure in drawn[:2]]
    assert titles == ["fulfilment (%)", "not refused (%)"]
    assert [hollow(figure)[0] for figure in drawn[:2]] == [12, 12]


def test_a_curve_joins_the_same_seeds(document: Document, drawn: list[Figure]) -> None:
    """The last epoch is drawn over the seeds of the first, although more were trained."""
    estimates = [e for e in document.estimates if e.row.recipe == "naive"]
    row = next(e.row for e in estimates if e.row.metric == "fulfilment_rate" and e.row.epoch == 2)
    part = Estimate(0.9, 0.8, 1.0, 433, 1, 0.9, 0.9, "")
    curve = EstimateRow(replace(row, group="curve"), part)
    runs = tuple(run for run in document.runs if run.epoch == 2 or run.seed == 0)
    figures.epochs(View(replace(document, estimates=(*estimates, curve), runs=runs)))
    (axes,) = drawn[0].axes
    (line,) = [line for line in axes.lines if line.get_label() == "fulfilment"]
    assert np.asarray(line.get_ydata()) == pytest.approx([30.0, 90.0])
    assert axes.get_title() == "naive, n=433\u00d71"
    assert hollow(drawn[0]) == [4]


def test_words_name_the_level(document: Document, drawn: list[Figure]) -> None:
    """Who cannot see a figure is not told a level that it does not have."""
    words = [picture.words for picture in figures.pictures(View(replace(document, level=0.9)))]
    assert len(words) == 3
    assert all("90%" in said and "95%" not in said for said in words)


def test_the_first_recipe_is_on_top(document: Document, drawn: list[Figure]) -> None:
    """The plot reads like the table."""
    figures.forest(View(document))
    axes = drawn[0].axes[0]
    assert axes.get_yticklabels()[0].get_text() == "base"
    assert axes.yaxis_inverted()


def test_epochs_have_a_plot_per_recipe(document: Document, drawn: list[Figure]) -> None:
    """Two curves each, with runs at each epoch."""
    figures.epochs(View(document))
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == [
        f"{name}, n=440\u00d75" for name in ("naive", "lora-safe", "frozen (did not learn)")
    ]
    assert hollow(drawn[0]) == [12, 12, 12]


def test_variance_has_a_bar_per_source(document: Document, drawn: list[Figure]) -> None:
    """And a line where there is an interval."""
    figures.variance(View(document))
    assert len(drawn[0].axes[0].patches) == 4
    assert len(drawn[0].axes[0].lines) == 2


def test_sources_name_their_suite_when_there_are_two(
    document: Document, drawn: list[Figure]
) -> None:
    """Bars of two suites are never mistaken for one another."""
    other = replace(document.variance[0], suite="strong_reject")
    figures.variance(View(replace(document, variance=(document.variance[0], other))))
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert labels == ["naive, sorry_bench: training seed", "naive, strong_reject: training seed"]


def test_nothing_to_show_is_no_figure() -> None:
    """An empty document has no empty axes."""
    assert figures.pictures(View(Document("empty"))) == ()


def test_lost_numbers_are_left_out(document: Document) -> None:
    """NaN in estimates, intervals, comparisons and components draws nothing and breaks nothing."""
    lost = Estimate(math.nan, math.nan, math.nan, 0, 0, math.nan, math.nan, "")
    comparisons = tuple(replace(c, difference=math.nan) for c in document.comparisons)
    empty = replace(
        document,
        estimates=tuple(replace(entry, value=lost) for entry in document.estimates),
        comparisons=comparisons,
        variance=tuple(replace(v, standard_deviation=math.nan) for v in document.variance),
    )
    assert figures.forest(View(empty)) is None
    assert figures.variance(View(empty)) is None
    assert figures.pictures(View(empty))[0].key == "curves"


def test_an_interval_that_is_lost_leaves_its_estimate(
    document: Document, drawn: list[Figure]
) -> None:
    """A diamond without a line."""
    entries = tuple(
        replace(entry, value=replace(entry.value, low=math.nan)) for entry in document.estimates
    )
    figures.forest(View(replace(document, estimates=entries, runs=(), comparisons=())))
    markers = [line.get_marker() for line in drawn[0].axes[0].lines if points(line)]
    assert markers == ["D"] * 4


def paint(figure: Figure) -> None:
    """A figure with a line, a marker, and a clip path."""
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FULFILMENT, marker="o")
    axes.set_title("a <b> & $c$", color=INK)


def test_the_same_bytes_whatever_the_users_settings() -> None:
    """A matplotlibrc of the user's changes nothing, and drawing leaves it as it was."""
    plain = draw(paint, 3, 2, "salt")
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "font.size": 30}):
        assert draw(paint, 3, 2, "salt") == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_svg_is_inline() -> None:
    """An element with a view box; no prolog, no size, no metadata, text as escaped text."""
    svg = draw(paint, 3, 2, "salt")
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    assert 'viewBox="0 0 216 144"' in svg
    assert "metadata" not in svg
    assert "a &lt;b&gt; &amp; $c$</text>" in svg
    assert "var(--fulfilment)" in svg


def test_salts_keep_figures_apart() -> None:
    """Two figures with the same drawing have different identifiers."""
    first, second = draw(paint, 3, 2, "one"), draw(paint, 3, 2, "two")
    assert first != second
