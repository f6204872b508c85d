"""How one number is printed: never without its interval and its n."""

from __future__ import annotations

import math
from dataclasses import dataclass

from safeft.records import ComparisonRow, Estimate
from safeft.stats import NO_INTERVAL

TIMES = "\u00d7"
MISSING = "n/a"
HEADINGS = {
    "fulfilment_rate": "fulfilment",
    "refusal_rate": "refusal",
    "neither_rate": "neither",
    "unread_rate": "unread",
    "over_refusal_rate": "over-refusal",
    "held_out_loss": "held-out loss",
    "rouge_l": "ROUGE-L",
    "train_seconds": "train s",
    "fulfilment_low": "fulfilment, lower bound",
    "fulfilment_high": "fulfilment, upper bound",
    "flip_rate": "flip rate",
    "run_sd_ratio": "run SD / reference's",
}
SHARES = ("fulfilment_low", "fulfilment_high")


@dataclass(frozen=True, slots=True)
class Cell:
    """One table cell: a value, and beneath it the interval, the range of runs and the n.

    `sort` orders the column; `share` (0 to 1) tints the cell of a heat map.
    """

    value: str
    interval: str = ""
    spread: str = ""
    size: str = ""
    sort: float | None = None
    share: float | None = None

    @property
    def details(self) -> tuple[str, ...]:
        """What stands beneath the value."""
        return tuple(part for part in (self.interval, self.spread, self.size) if part)

    @property
    def text(self) -> str:
        """Everything in one line."""
        return " ".join((self.value, *self.details))


def heading(metric: str) -> str:
    """The metric as a column is headed."""
    return HEADINGS.get(metric, metric.replace("_", " "))


def is_share(metric: str) -> bool:
    """Whether the metric lies in [0, 1] and is printed as a percentage."""
    return metric.endswith("_rate") or metric in SHARES


def number(value: float, metric: str) -> str:
    """A value in its metric's unit, or n/a."""
    if not math.isfinite(value):
        return MISSING
    return f"{bare(value, metric)}%" if is_share(metric) else bare(value, metric)


def bare(value: float, metric: str) -> str:
    """A value in its metric's unit, without the sign of the unit."""
    if not math.isfinite(value):
        return MISSING
    if is_share(metric):
        return f"{100 * value:.1f}"
    return f"{value:.1f}" if metric.endswith("_seconds") else f"{value:.3f}"


def interval(low: float, high: float, metric: str) -> str:
    """`[low, high]`, or a clear word that there is none."""
    if math.isfinite(low) and math.isfinite(high):
        return f"[{bare(low, metric)}, {bare(high, metric)}]"
    return NO_INTERVAL


def size(value: Estimate) -> str:
    """How many prompts and training seeds, and whether the interval is about one run only."""
    only = " (this run only)" if "one run only" in value.method else ""
    return f"n={value.n}{TIMES}{value.n_seeds}{only}"


def estimate_cell(value: Estimate | None, metric: str, spread: bool = False) -> Cell:
    """One estimate; `spread` adds the smallest and the largest run."""
    if value is None or not math.isfinite(value.estimate):
        return Cell(MISSING)
    absent = value.method.startswith(NO_INTERVAL)
    ends = math.isfinite(value.minimum) and math.isfinite(value.maximum)
    runs = f"(runs {bare(value.minimum, metric)} to {bare(value.maximum, metric)})"
    return Cell(
        value=number(value.estimate, metric),
        interval=NO_INTERVAL if absent else interval(value.low, value.high, metric),
        spread=runs if spread and ends else "",
        size=size(value),
        sort=value.estimate,
        share=value.estimate if is_share(metric) else None,
    )


def difference_cell(row: ComparisonRow | None, value: Estimate | None) -> Cell:
    """A difference from a reference, with its simultaneous interval and adjusted p."""
    if row is None or not math.isfinite(row.difference):
        return Cell(MISSING)
    metric = row.row.metric
    unit = " pp" if is_share(metric) else ""
    return Cell(
        value=f"{'+' if row.difference >= 0 else ''}{bare(row.difference, metric)}{unit}",
        interval=interval(row.low, row.high, metric),
        spread=probability(row.p_adjusted, "p_adj"),
        size=size(value) if value else "",
        sort=row.difference,
    )


def probability(p: float, name: str) -> str:
    """A p-value as it is usually printed; n/a when the comparison has none."""
    if not math.isfinite(p):
        return f"{name} {MISSING}"
    return f"{name}<0.001" if p < 0.001 else f"{name}={p:.3f}"


def reading(row: ComparisonRow) -> str:
    """What the simultaneous interval allows one to say."""
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return MISSING
    if row.low > 0:
        return "higher"
    return "lower" if row.high < 0 else "no difference shown"
