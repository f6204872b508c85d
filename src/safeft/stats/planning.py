"""What the next run will bring, and what a comparison of this size could have seen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.contrasts import Contrast
from safeft.stats.distributions import (
    noncentral_shift,
    normal_quantile,
    t_quantile,
    upper_point,
)
from safeft.stats.intervals import Interval
from safeft.stats.layout import Floats, cube, summarise
from safeft.stats.rates import NO_INTERVAL, wilson_bounds


def prediction_interval(
    y_SPK: npt.ArrayLike, level: float = 0.95, *, bounded: bool = True
) -> Interval:
    """Where the mean of one new training run on these prompts will fall.

    y_SPK: training seeds × prompts × decoding seeds; n counts training seeds.
    mean ± t·s·√(1+1/S), for rates on the arcsine scale (Anscombe 1948), where it stays in [0, 1].
    Rates equal in all runs get Wilson's bounds over prompts, other equal values `NO_INTERVAL`.
    Raises DataError with fewer than two training seeds.
    """
    summary = summarise(cube(y_SPK))
    runs, mean = summary.runs, summary.estimate
    if len(runs) < 2:
        raise DataError("a prediction for the next run needs two or more training seeds")
    if np.ptp(runs) > 0:
        return Interval(mean, *_predicted(runs, upper_point(level), bounded), len(runs), "t")
    if not bounded:
        return Interval(mean, mean, mean, len(runs), f"{NO_INTERVAL}: all runs are equal")
    low, high = wilson_bounds(mean, summary.prompts, normal_quantile(upper_point(level)))
    return Interval(mean, low, high, len(runs), "Wilson over prompts: all runs are equal")


def minimum_detectable(run_sd: float, seeds: int, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest true difference that `seeds` runs per arm detect with this power.

    Two-sample t between runs of standard deviation `run_sd`; fresh prompts add to it.
    Raises ValueError with fewer than two seeds, from which no variance can be had.
    """
    if seeds < 2:
        raise ValueError(f"planning needs two or more seeds per arm, got {seeds}")
    return _detectable(run_sd * math.sqrt(2 / seeds), 2 * (seeds - 1), level, power)


def detectable_beside(contrast: Contrast, power: float = 0.8) -> float:
    """The smallest true difference that this very comparison would have detected.

    At the level of its own interval; NaN where it has none.
    """
    if contrast.method.startswith(NO_INTERVAL):
        return math.nan
    return _detectable(contrast.standard_error, contrast.degrees_of_freedom, contrast.level, power)


def _detectable(error: float, freedom: float, level: float, power: float) -> float:
    """Standard error times the noncentral t shift; the far tail's contribution is nil."""
    return error * noncentral_shift(t_quantile(upper_point(level), freedom), freedom, power)


def _predicted(runs_S: Floats, point: float, bounded: bool) -> tuple[float, float]:
    """Bounds of one new run mean."""
    scaled = np.arcsin(np.sqrt(runs_S)) if bounded else runs_S
    half = t_quantile(point, len(runs_S) - 1) * scaled.std(ddof=1) * np.sqrt(1 + 1 / len(runs_S))
    low, high = scaled.mean() - half, scaled.mean() + half
    if not bounded:
        return float(low), float(high)
    return float(np.sin(max(low, 0.0)) ** 2), float(np.sin(min(high, np.pi / 2)) ** 2)
