"""One recipe's rate or loss, with an interval."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.records import Estimate
from safeft.stats.crossed import Error, crossed_error, prompt_term
from safeft.stats.distributions import normal_quantile, t_quantile, upper_point
from safeft.stats.layout import Floats, Summary, cube, summarise

NO_INTERVAL = "no interval"
Scale = Literal["rate", "log", "plain"]


def wilson_bounds(rate: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's score bounds for a rate over n; `quantile` is z, or t for an effective n."""
    square = quantile**2 / n
    centre = (rate + square / 2) / (1 + square)
    half = math.sqrt(square * rate * (1 - rate) + square**2 / 4) / (1 + square)
    # At 0 and 1 the bound is exact; rounding must not move it off the estimate.
    return min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate)


def proportion(successes: int, n: int, level: float = 0.95) -> Estimate:
    """A share of n independent trials with Wilson's interval (Wilson 1927).

    Raises DataError when n is 0 and ValueError when successes lie outside 0…n.
    """
    if n == 0:
        raise DataError("a rate of no trials is undefined: n is 0")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, got {successes} of {n}")
    rate = successes / n
    low, high = wilson_bounds(rate, n, normal_quantile(upper_point(level)))
    return Estimate(rate, low, high, n, 1, rate, rate, "Wilson")


def arm(
    y_SPK: npt.ArrayLike,
    level: float = 0.95,
    *,
    bounded: bool = True,
    fixed: bool = False,
    positive: bool = False,
) -> Estimate:
    """The mean of one recipe over fresh training seeds and fresh prompts.

    y_SPK: training seeds × prompts × decoding seeds, NaN = unread. The variance is the crossed
    one of `crossed.py`. `bounded` says that values are rates in [0, 1]: the interval is then
    Wilson's with the effective sample size rate(1 - rate)/V and the crossed t (Korn & Graubard
    1998; Dean & Pagano 2015), which stays inside [0, 1] and holds next to 0 and 1; without any
    variance (0/440) it is Wilson's over prompts. Unbounded values (losses, seconds) get
    mean ± t·se, or mean ×/÷ exp(t·se/mean) where `positive` says that they cannot fall to 0, as
    seconds cannot (the delta method on the log scale). `fixed` says that the arm is one given
    model, not one draw of a training recipe.

    Where no interval can be had low and high are the estimate and `method` starts `NO_INTERVAL`.
    minimum and maximum are over training seeds, decodes averaged; n counts prompts.
    Raises DataError when nothing was read, ValueError for a wrong shape or range.
    """
    values = cube(y_SPK)
    summary = summarise(values)
    check_arm(values, bounded, fixed, positive)
    error = crossed_error([summary], prompt_term(summary.influence, summary.read))
    scale: Scale = "rate" if bounded else "log" if positive else "plain"
    low, high, method = _interval(summary, error, upper_point(level), scale, fixed)
    return Estimate(
        estimate=summary.estimate,
        low=low,
        high=high,
        n=summary.prompts,
        n_seeds=summary.seeds,
        minimum=float(summary.runs.min()),
        maximum=float(summary.runs.max()),
        method=method,
    )


def check_arm(values_SPK: Floats, bounded: bool, fixed: bool, positive: bool = False) -> None:
    """Raises ValueError for several seeds of one fixed model, or values outside their range."""
    low, high = float(np.nanmin(values_SPK)), float(np.nanmax(values_SPK))
    if fixed and len(values_SPK) > 1:
        raise ValueError(f"a fixed model has one training seed, this arm has {len(values_SPK)}")
    if bounded and not (low >= 0 and high <= 1):
        raise ValueError(f"rates lie in [0, 1], got {low:g} to {high:g}; pass bounded=False")
    if positive and low <= 0:
        raise ValueError(f"positive values lie above 0, got {low:g}; pass positive=False")


def _interval(
    summary: Summary, error: Error, point: float, scale: Scale, fixed: bool
) -> tuple[float, float, str]:
    """Low, high and the method of one arm."""
    rate = summary.estimate
    if summary.seeds == 1 and summary.prompts == 1:
        return rate, rate, f"{NO_INTERVAL}: single value"
    if not error.negligible(rate):
        return *_t_bounds(rate, error, point, scale), _method(summary, fixed, scale)
    if scale != "rate":
        return rate, rate, f"{NO_INTERVAL}: all values are equal"
    # A single prompt says nothing over prompts: there the runs are the trials.
    trials, unit = (summary.prompts, "prompts") if summary.prompts > 1 else (summary.seeds, "runs")
    method = f"Wilson over {unit}: no variance{_once(summary, fixed)}"
    return *wilson_bounds(rate, trials, normal_quantile(point)), method


def _t_bounds(rate: float, error: Error, point: float, scale: Scale) -> tuple[float, float]:
    """Bounds from a standard error: Wilson-t for rates, t on the log scale or symmetric t."""
    quantile = t_quantile(point, error.freedom)
    if scale == "rate":
        return wilson_bounds(rate, rate * (1 - rate) / error.variance, quantile)
    if scale == "log":
        factor = math.exp(quantile * error.standard / rate)
        return rate / factor, rate * factor
    return rate - quantile * error.standard, rate + quantile * error.standard


def _method(summary: Summary, fixed: bool, scale: Scale) -> str:
    """Names the design and the scale; one run never speaks for its recipe."""
    log = " on the log scale" if scale == "log" else ""
    if summary.prompts == 1:
        return f"t over training seeds{log}"
    if summary.seeds > 1:
        return f"crossed seeds × prompts t{log}"
    return f"prompt-clustered t{log}{_once(summary, fixed)}"


def _once(summary: Summary, fixed: bool) -> str:
    """What one run is: a given model, or one draw of its recipe."""
    if summary.seeds > 1:
        return ""
    return ", one fixed model" if fixed else ", holds for this one run only"
