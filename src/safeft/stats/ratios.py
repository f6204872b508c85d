"""The ratio of two rates over the same prompts: a risk multiplier."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.crossed import Error, crossed_error, prompt_term
from safeft.stats.distributions import upper_point
from safeft.stats.intervals import Interval
from safeft.stats.layout import Summary, cube, summarise
from safeft.stats.rates import NO_INTERVAL
from safeft.stats.shares import end, rejection, scaled

NEAR_ZERO = "the denominator may be nothing"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two arms on the same prompts."""

    above: Summary
    below: Summary

    def lead(self, ratio: float) -> tuple[float, Error]:
        """How far `above` lies over this multiple of `below`, and its error."""
        part = scaled(self.below, ratio)
        influence = self.above.influence - part.influence
        prompts = prompt_term(influence, self.above.read | self.below.read)
        return self.above.estimate - part.estimate, crossed_error([self.above, part], prompts)


def risk_ratio(above_SPK: npt.ArrayLike, below_SPK: npt.ArrayLike, level: float = 0.95) -> Interval:
    """The mean of `above` over the mean of `below`: training seeds × prompts × decoding seeds.

    Fieller's interval (1954) with the crossed t of `crossed.py`; its low end is at least 0. Where
    `below` may be nothing it has no end: then both are the ratio, and the method says so
    (`NO_INTERVAL`). n counts prompts. Raises DataError where `below` is 0 throughout.
    """
    arms = Ratio(summarise(cube(above_SPK)), summarise(cube(below_SPK)))
    if arms.below.estimate <= 0:
        raise DataError("there is no multiple of a risk that is 0")
    ratio, n = arms.above.estimate / arms.below.estimate, arms.below.prompts
    if arms.lead(ratio)[1].negligible(arms.below.estimate):
        return Interval(ratio, ratio, ratio, n, f"{NO_INTERVAL}: no variance")
    rejected = rejection(arms.lead, upper_point(level))
    low, high = end(rejected, ratio, -1.0), end(rejected, ratio, 1.0)
    if not math.isfinite(high):
        return Interval(ratio, ratio, ratio, n, f"{NO_INTERVAL}: {NEAR_ZERO}")
    return Interval(ratio, max(0.0, low), high, n, "Fieller with the crossed t")
