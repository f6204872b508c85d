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
from safeft.stats.layout import Floats, cube, run_sd, summarise
from safeft.stats.rates import NO_INTERVAL, wilson_bounds

POWER = 0.8


def prediction_interval(y_SPK: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Where the rate of one new training run on these prompts will fall.

    y_SPK: training seeds × prompts × decoding seeds; n counts training seeds.
    mean ± t·s·√(1+1/S) on the arcsine scale (Anscombe 1948), where it stays in [0, 1]. Rates equal
    in all runs get Wilson's bounds over prompts.
    Raises DataError with fewer than two training seeds.
    """
    summary = summarise(cube(y_SPK))
    runs, mean, point = summary.runs, summary.estimate, upper_point(level)
    if len(runs) < 2:
        raise DataError("a prediction for the next run needs two or more training seeds")
    if run_sd(runs) > 0:
        return Interval(mean, *_predicted(runs, point), len(runs), "t")
    low, high = wilson_bounds(mean, summary.prompts, normal_quantile(point))
    return Interval(mean, low, high, len(runs), "Wilson over prompts: all runs are equal")


def detectable_beside(contrast: Contrast) -> float:
    """The smallest true difference that this very comparison would have detected with 80 % power.

    At the level of its own interval; NaN where it has none. The far tail's contribution is nil.
    """
    if contrast.method.startswith(NO_INTERVAL):
        return math.nan
    freedom = contrast.degrees_of_freedom
    critical = t_quantile(upper_point(contrast.level), freedom)
    return contrast.standard_error * noncentral_shift(critical, freedom, POWER)


def _predicted(runs_S: Floats, point: float) -> tuple[float, float]:
    """Bounds of one new run's rate."""
    scaled = np.arcsin(np.sqrt(runs_S))
    half = t_quantile(point, len(runs_S) - 1) * scaled.std(ddof=1) * np.sqrt(1 + 1 / len(runs_S))
    low, high = max(scaled.mean() - half, 0.0), min(scaled.mean() + half, np.pi / 2)
    return float(np.sin(low) ** 2), float(np.sin(high) ** 2)
