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
from safeft.stats.layout import run_means, run_sd
from safeft.stats.planning import detectable_beside, prediction_interval
from safeft.stats.rates import NO_INTERVAL, arm, proportion
from safeft.stats.shares import gain_share
from safeft.stats.variance import Component, components, spread_ratio

__all__ = [
    "NO_INTERVAL",
    "SEED_TERM_MISSING",
    "Component",
    "Contrast",
    "Interval",
    "Simultaneous",
    "arm",
    "components",
    "contrast",
    "detectable_beside",
    "flip_rate",
    "gain_share",
    "holm",
    "kappa",
    "prediction_interval",
    "proportion",
    "run_means",
    "run_sd",
    "simultaneous",
    "spread_ratio",
]
