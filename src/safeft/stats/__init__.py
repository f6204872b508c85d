"""Verdicts to estimates: intervals, contrasts, variance components, agreement, planning."""

from safeft.stats.agreement import flip_rate, kappa, kappa_by_prompt, stability_index
from safeft.stats.contrasts import (
    SEED_TERM_MISSING,
    Contrast,
    Simultaneous,
    contrast,
    holm,
    simultaneous,
)
from safeft.stats.corrections import (
    Labelled,
    corrected_contrast,
    prediction_powered,
    rogan_gladen,
)
from safeft.stats.decisions import (
    Equivalence,
    McNemar,
    benjamini_hochberg,
    equivalence,
    mcnemar,
)
from safeft.stats.factors import factor_components
from safeft.stats.intervals import Interval
from safeft.stats.layout import run_means, run_sd
from safeft.stats.planning import detectable_beside, prediction_interval
from safeft.stats.rates import NO_INTERVAL, arm, proportion
from safeft.stats.ratios import risk_ratio
from safeft.stats.shares import gain_share
from safeft.stats.variance import Component, components, spread_ratio

__all__ = [
    "NO_INTERVAL",
    "SEED_TERM_MISSING",
    "Component",
    "Contrast",
    "Equivalence",
    "Interval",
    "Labelled",
    "McNemar",
    "Simultaneous",
    "arm",
    "benjamini_hochberg",
    "components",
    "contrast",
    "corrected_contrast",
    "detectable_beside",
    "equivalence",
    "factor_components",
    "flip_rate",
    "gain_share",
    "holm",
    "kappa",
    "kappa_by_prompt",
    "mcnemar",
    "prediction_interval",
    "prediction_powered",
    "proportion",
    "risk_ratio",
    "rogan_gladen",
    "run_means",
    "run_sd",
    "simultaneous",
    "spread_ratio",
    "stability_index",
]
