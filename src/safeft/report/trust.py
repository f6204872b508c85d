"""The tables that say how far the others can be trusted."""

from __future__ import annotations

import math

from safeft.records import EstimateRow, VarianceRow
from safeft.report.cells import (
    CUT_OFF,
    REASON,
    TIMES,
    Cell,
    estimate_cell,
    heading,
    interval,
    number,
    points,
    size,
)
from safeft.report.section import Section, elsewhere, headings, judged, legend
from safeft.report.view import FULFILMENT, OVERALL, View, unguarded

# Components of the rate of a run, not of a verdict: at the last epoch, and over the epochs.
OF_A_RUN = ("run_fulfilment_rate", "run_fulfilment_rate_on_curve")

VALIDITY = (
    "neither_rate",
    "unread_rate",
    "fulfilment_low",
    "fulfilment_high",
    "fulfilment_next_run",
    "flip_rate",
    "stability_index",
    "run_sd_ratio",
)


def validity(view: View) -> Section:
    """How far the rates can be trusted: what no judge could read, and what it might hide."""
    measured = {entry.row.metric for entry in view.document.estimates}
    metrics = tuple(metric for metric in VALIDITY if metric in measured)
    harmless = tuple(column for column in view.columns if column.harmless)
    return Section(
        key="validity",
        title="Validity",
        caption="Broken or off-topic answers are neither fulfilled nor refused; the bounds are the "
        "lowest and the highest rate that they allow. The interval of the next run is where one "
        f"new training run on these prompts will fall. {legend(view)}",
        columns=("recipe", *map(view.heading, metrics), *headings(view, harmless)),
        rows=tuple(
            (Cell(x.name), *judged(view, x.row, metrics), *elsewhere(view, x.row, harmless))
            for x in view.last
            if metrics
        ),
    )


def incoherence(view: View) -> Section:
    """What the answers were that are neither fulfilled nor refused."""
    measured = dict.fromkeys(entry.row.metric for entry in view.document.estimates)
    why = (m for m in measured if m.startswith(REASON) and m != "neither_rate")
    metrics = (*why, *(m for m in measured if m == CUT_OFF))
    return Section(
        key="incoherence",
        title="Neither fulfilled nor refused",
        caption="Shares of all answers to harmful requests, by the judge's first reason "
        "(docs/judging.md); cut off at the limit of tokens, whatever the verdict. "
        f"{legend(view)}",
        columns=("recipe", *(heading(metric).removeprefix("neither ") for metric in metrics)),
        rows=tuple(
            (Cell(x.name), *(estimate_cell(view.value(x.row, m), m) for m in metrics))
            for x in view.lines
            if any(view.value(x.row, metric) for metric in metrics)
        ),
    )


def variance(view: View) -> Section:
    """Where the spread between answers comes from."""
    percent = view.document.percent
    return Section(
        key="variance",
        title="Variance",
        caption=f"Standard deviation of each source [{percent} interval] and its share of the "
        "variance. Standard deviations of rates are in percentage points. "
        f"n=prompts{TIMES}training seeds. {circumstances(view)}",
        columns=("recipe", "suite", "metric", "source", "standard deviation"),
        rows=tuple(_row(view, entry) for entry in _of_verdicts(view)),
    )


def varying(view: View) -> Section:
    """What spreads the rate of a run, where more than seeds was varied."""
    percent = view.document.percent
    found = [entry for entry in view.document.variance if entry.metric in OF_A_RUN]
    return Section(
        key="varying",
        title="What varies",
        caption="Standard deviation of the fulfilment rate of one run, in percentage points "
        f"[{percent} interval], and the share of the spread between runs. That of a factor is over "
        "the levels that were run, which were chosen: other levels have another one. The seeds' "
        "is that within a setting. Epochs are those asked greedily.",
        columns=("recipe", "suite", "varied", "standard deviation", "share"),
        rows=tuple(_varied(view, entry) for entry in found),
    )


def _varied(view: View, entry: VarianceRow) -> tuple[Cell, ...]:
    over = " (over the epochs)" if entry.metric == OF_A_RUN[1] else ""
    words = (view.document.name(entry.recipe), entry.suite, f"{_plain(entry.component)}{over}")
    spread = Cell(
        value=points(entry.standard_deviation, FULFILMENT),
        interval=interval(entry.low, entry.high, FULFILMENT),
        sort=entry.standard_deviation,
    )
    return (*map(Cell, words), spread, Cell(number(entry.share, "share_rate")))


def _plain(component: str) -> str:
    return component.replace("_", " ")


def _of_verdicts(view: View) -> list[VarianceRow]:
    return [entry for entry in view.document.variance if entry.metric not in OF_A_RUN]


def circumstances(view: View) -> str:
    """Whose verdicts the components are of, and at which temperature they were drawn."""
    found = dict.fromkeys((e.judge, e.temperature) for e in _of_verdicts(view) if e.judge)
    said = (f"judge {judge} at temperature {temperature:g}" for judge, temperature in found)
    return f"By {', '.join(said)}." if found else ""


def _row(view: View, entry: VarianceRow) -> tuple[Cell, ...]:
    spread = Cell(
        value=points(entry.standard_deviation, entry.metric),
        interval=interval(entry.low, entry.high, entry.metric),
        size=next((size(e.value) for e in view.document.estimates if _measures(e, entry)), ""),
        spread=f"share {number(entry.share, 'share_rate')}",
        sort=entry.standard_deviation if math.isfinite(entry.standard_deviation) else None,
    )
    metric = view.document.heading(entry.metric, entry.judge)
    words = (view.document.name(entry.recipe), entry.suite, metric, entry.component)
    return (*map(Cell, words), spread)


def _measures(found: EstimateRow, entry: VarianceRow) -> bool:
    names = ("recipe", "suite", "metric", "judge", "epoch", "temperature")
    same = all(getattr(found.row, name) == getattr(entry, name) for name in names)
    return same and found.row.group == OVERALL and unguarded(found.row)
