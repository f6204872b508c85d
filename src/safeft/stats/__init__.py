"""Verdicts to estimates: intervals, contrasts, variance components, agreement, planning."""

from safeft.stats.agreement import flip_rate, kappa
from safeft.stats.contrasts import (
    SEED_TERM_MISSING,
    Contrast,
    Simultaneous,
    contrast,
    holm,
    simultaneous,
)
from safeft.stats.intervals import Interval
from safeft.stats.layout import run_means
from safeft.stats.planning import detectable_beside, minimum_detectable, prediction_interval
from safeft.stats.rates import NO_INTERVAL, arm, proportion
from safeft.stats.shares import gain_share
from safeft.stats.variance import Component, Ratio, components, spread_ratio

__all__ = [
    "NO_INTERVAL",
    "SEED_TERM_MISSING",
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
    "gain_share",
    "holm",
    "kappa",
    "minimum_detectable",
    "prediction_interval",
    "proportion",
    "run_means",
    "simultaneous",
    "spread_ratio",
]
