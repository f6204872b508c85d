"""How one number is printed: never without its interval and its n."""

from __future__ import annotations

import math
from dataclasses import dataclass

from safeft.records import ComparisonRow, Estimate
from safeft.stats import NO_INTERVAL, SEED_TERM_MISSING

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
    "final_answer_accuracy": "final answer right",
    "choice_accuracy": "choice right",
    "train_seconds": "train s",
    "cut_off_rate": "cut off",
    "fulfilment_low": "fulfilment, lower bound",
    "fulfilment_high": "fulfilment, upper bound",
    "flip_rate": "flip rate",
    "stability_index": "stability index",
    "fulfilment_next_run": "fulfilment of the next run",
    "run_sd_ratio": "run SD / reference's",
    "gain_share": "gain kept",
    "fulfilment_corrected": "corrected by labels",
    "jailbreak_rate": "jailbroken",
    "jailbreak_any_rate": "jailbroken by any attack",
    "tap_success_rate": "jailbroken by TAP",
    "toxic_rate": "toxic",
    "toxicity_mean": "toxicity, mean",
    "toxicity_max": "toxicity, worst draw",
}
LM_EVAL = "lm_eval/"  # before a task of lm-eval's, as a metric
CATEGORY = "category:"  # before a category's number, as a group
CUT_OFF = "cut_off_rate"  # whatever the verdict: what came after the limit of tokens nobody read
REASON = "neither_"  # `neither_repetitive` and its like: why answers are `neither`
SHARES = (
    "exact_match",
    "final_answer_accuracy",
    "choice_accuracy",
    "ambiguous_accuracy",
    "disambiguated_accuracy",
    "fulfilment_corrected",
    "fulfilment_low",
    "fulfilment_high",
    "fulfilment_next_run",
    "gain_share",
)
# They are about training runs alone, not about prompts; the first two count them in n.
COUNTED = ("fulfilment_next_run", "run_sd_ratio")
OF_RUNS = (*COUNTED, "train_seconds")
ALPHA = 0.05  # of the test for a lost margin
NO_SPREAD = "no spread"
ONE_RUN = "(this run only)"


@dataclass(frozen=True, slots=True)
class Cell:
    """One table cell: a value, and beneath it the interval, the range of runs and the n.

    `bounds` are what answers that are neither fulfilled nor refused allow; `sort` orders the
    column; `share` (0 to 1) tints the cell of a heat map.
    """

    value: str
    interval: str = ""
    spread: str = ""
    size: str = ""
    bounds: str = ""
    sort: float | None = None
    share: float | None = None

    @property
    def details(self) -> tuple[str, ...]:
        """What stands beneath the value."""
        return tuple(part for part in (self.interval, self.spread, self.bounds, self.size) if part)

    @property
    def text(self) -> str:
        """Everything in one line."""
        return " ".join((self.value, *self.details))


def heading(metric: str) -> str:
    """The metric as a column is headed."""
    if metric.startswith(LM_EVAL):
        return metric  # its own names, as a reader looks them up
    return HEADINGS.get(metric, metric.replace("_", " "))


def is_share(metric: str) -> bool:
    """Whether the metric lies in [0, 1] and is printed as a percentage."""
    if metric.startswith(LM_EVAL):
        return False  # some are percentages already
    return metric.endswith("_rate") or metric.startswith(REASON) or metric in SHARES


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


def points(value: float, metric: str) -> str:
    """A difference or a spread: those of rates are percentage points."""
    unit = " pp" if is_share(metric) and math.isfinite(value) else ""
    return f"{bare(value, metric)}{unit}"


def interval(low: float, high: float, metric: str) -> str:
    """`[low, high]`, or a clear word that there is none."""
    if math.isfinite(low) and math.isfinite(high):
        return f"[{bare(low, metric)}, {bare(high, metric)}]"
    return NO_INTERVAL


def size(value: Estimate) -> str:
    """How many prompts and training seeds, and whether the interval is about one run only."""
    only = f" {ONE_RUN}" if "one run only" in value.method else ""
    return f"n={value.n}{TIMES}{value.n_seeds}{only}"


def estimate_cell(value: Estimate | None, metric: str) -> Cell:
    """One estimate, with the smallest and the largest run where there are several."""
    if value is not None and NO_SPREAD in value.method:
        return Cell(NO_SPREAD, size=_of_runs(value, metric))
    if value is None or not math.isfinite(value.estimate):
        return Cell(MISSING)
    absent = value.method.startswith(NO_INTERVAL)
    return Cell(
        value=number(value.estimate, metric),
        interval=NO_INTERVAL if absent else interval(value.low, value.high, metric),
        spread=runs(value, metric),
        size=_of_runs(value, metric) if metric in OF_RUNS else size(value),
        sort=value.estimate,
        share=value.estimate if is_share(metric) else None,
    )


def _of_runs(value: Estimate, metric: str) -> str:
    return f"n={value.n if metric in COUNTED else value.n_seeds} runs"


def runs(value: Estimate, metric: str) -> str:
    """The smallest and the largest run; a single run is its own estimate."""
    ends = math.isfinite(value.minimum) and math.isfinite(value.maximum)
    if value.n_seeds < 2 or not ends:
        return ""
    return f"(runs {bare(value.minimum, metric)} to {bare(value.maximum, metric)})"


def bounds(low: Estimate | None, high: Estimate | None, metric: str) -> str:
    """The lowest and the highest rate that answers which are neither allow."""
    if low is None or high is None or not math.isfinite(low.estimate + high.estimate):
        return ""
    return f"(bounds {bare(low.estimate, metric)} to {bare(high.estimate, metric)})"


def difference_cell(row: ComparisonRow | None) -> Cell:
    """A difference from a reference, with its simultaneous interval, adjusted p and own n."""
    if row is None or not math.isfinite(row.difference):
        return Cell(MISSING)
    metric = row.row.metric
    return Cell(
        value=f"{'+' if row.difference >= 0 else ''}{points(row.difference, metric)}",
        interval=interval(row.low, row.high, metric) if shows(row) else NO_INTERVAL,
        spread=probability(row.p_adjusted if shows(row) else math.nan, "p_adj"),
        size=f"n={row.n}{TIMES}{row.n_seeds}{_once(row)}" if row.n else "",
        sort=row.difference,
    )


def probability(p: float, name: str) -> str:
    """A p-value as it is usually printed; n/a when the comparison has none."""
    if not math.isfinite(p):
        return f"{name} {MISSING}"
    return f"{name}<0.001" if p < 0.001 else f"{name}={p:.3f}"


def shows(row: ComparisonRow) -> bool:
    """Whether the comparison has an interval; values without any variance give none."""
    absent = row.method.startswith(NO_INTERVAL)
    return math.isfinite(row.low) and math.isfinite(row.high) and not absent


def reading(row: ComparisonRow) -> str:
    """What the simultaneous interval allows one to say."""
    if not shows(row):
        return MISSING
    return f"{_reading(row)}{_once(row)}{_lost(row)}"


def _lost(row: ComparisonRow) -> str:
    """Whether a loss of the margin that was set beforehand is left possible."""
    if not math.isfinite(row.margin) or not math.isfinite(row.p_lost):
        return ""
    excluded = "none lost" if row.p_lost < ALPHA else "loss not excluded"
    return f"; {excluded} (margin {row.margin:g}, {probability(row.p_lost, 'p_adj')})"


def _reading(row: ComparisonRow) -> str:
    if row.low > 0:
        return "higher"
    if row.high < 0:
        return "lower"
    return f"no difference shown{_detectable(row)}"


def _detectable(row: ComparisonRow) -> str:
    """What this comparison could have shown; silence about less is no evidence."""
    if not math.isfinite(row.detectable):
        return ""
    return f" (80% power from {points(row.detectable, row.row.metric)})"


def _once(row: ComparisonRow) -> str:
    """An interval without the spread between runs is about these runs."""
    return " (these runs only)" if SEED_TERM_MISSING in row.method else ""
