"""Verdicts to estimates: intervals, contrasts, variance components, agreement, planning."""

from safeft.stats.agreement import flip_rate, kappa
from safeft.stats.contrasts import Contrast, Simultaneous, contrast, holm, simultaneous
from safeft.stats.intervals import Interval
from safeft.stats.planning import detectable_beside, minimum_detectable, prediction_interval
from safeft.stats.rates import NO_INTERVAL, arm, proportion
from safeft.stats.variance import Component, Ratio, components, spread_ratio

__all__ = [
    "NO_INTERVAL",
    "Component",
    "Contrast",
    "Interval",
    "Ratio",
    "Simultaneous",
    "arm",
    "components",
    "contrast",
    "detectable_beside",
    "flip_rate",
    "holm",
    "kappa",
    "minimum_detectable",
    "prediction_interval",
    "proportion",
    "simultaneous",
    "spread_ratio",
]
