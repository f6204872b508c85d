"""The share that a recipe keeps of a reference's gain: a ratio of two differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.crossed import Error, crossed_error, prompt_term
from safeft.stats.distributions import t_quantile, upper_point
from safeft.stats.intervals import Interval
from safeft.stats.layout import Summary, cube, summarise
from safeft.stats.rates import NO_INTERVAL

STEPS = 25  # of bisection: an end to eight digits


@dataclass(frozen=True, slots=True)
class Losses:
    """The model before training, the reference and the recipe, on the same rows."""

    start: Summary
    reference: Summary
    recipe: Summary

    def share(self) -> float:
        """What the recipe keeps. Raises DataError when the reference has gained nothing."""
        gain = self.start.estimate - self.reference.estimate
        if gain <= 0:
            raise DataError("there is no share of a gain that the reference has not made")
        return (self.start.estimate - self.recipe.estimate) / gain

    def lead(self, share: float) -> tuple[float, Error]:
        """How far the recipe's gain lies above this share of the reference's, and its error."""
        start, part = scaled(self.start, 1 - share), scaled(self.reference, share)
        lead = start.estimate + part.estimate - self.recipe.estimate
        influence = start.influence + part.influence - self.recipe.influence
        return lead, crossed_error([part, self.recipe], prompt_term(influence, start.read))


def scaled(arm: Summary, factor: float) -> Summary:
    """The arm with every value multiplied."""
    return replace(
        arm,
        estimate=factor * arm.estimate,
        runs=factor * arm.runs,
        influence=factor * arm.influence,
        seed_term=factor**2 * arm.seed_term,
        overlap=factor**2 * arm.overlap,
    )


def gain_share(
    start_SPK: npt.ArrayLike,
    reference_SPK: npt.ArrayLike,
    recipe_SPK: npt.ArrayLike,
    level: float = 0.95,
    *,
    fixed: bool = False,
) -> Interval:
    """(start - recipe) / (start - reference), for losses of the same rows, all of them read.

    Fieller's interval (1954): every share at which the crossed t of `crossed.py` does not reject
    that the recipe's gain is that share of the reference's. A bootstrap over three to five seeds
    is far too narrow, and a normal ratio ignores how uncertain the reference's gain is. n counts
    rows. `fixed` says that the recipe's arm is one given model. Where the reference's gain may be
    nothing, the interval has no end there, and both are the estimate (`NO_INTERVAL`).
    Raises DataError when the reference has gained nothing.
    """
    start, reference, recipe = (
        summarise(cube(values)) for values in (start_SPK, reference_SPK, recipe_SPK)
    )
    losses = Losses(start, reference, recipe)
    share = losses.share()
    if losses.lead(share)[1].negligible(start.estimate):
        return Interval(share, share, share, start.prompts, f"{NO_INTERVAL}: no variance")
    rejected = rejection(losses.lead, upper_point(level))
    low, high = end(rejected, share, -1.0), end(rejected, share, 1.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        method = f"{NO_INTERVAL}: the reference's own gain is not shown"
        return Interval(share, share, share, start.prompts, method)
    return Interval(share, low, high, start.prompts, _method(reference, recipe, fixed))


def rejection(
    lead: Callable[[float], tuple[float, Error]], point: float
) -> Callable[[float], bool]:
    """Whether the crossed t rejects a value, from what leads at it and that lead's error."""

    def rejected(value: float) -> bool:
        ahead, error = lead(value)
        return abs(ahead) > t_quantile(point, error.freedom) * error.standard

    return rejected


def end(rejected: Callable[[float], bool], share: float, side: float) -> float:
    """Where the values that are not rejected end on one side; infinite when they do not."""
    step = next((2.0**power for power in range(-10, 11) if rejected(share + side * 2.0**power)), 0)
    if not step:
        return side * math.inf
    inside, outside = 0.0, float(step)
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(share + side * middle) else (middle, outside)
    return share + side * outside


def _method(reference: Summary, recipe: Summary, fixed: bool) -> str:
    """Names the design; one run never speaks for its recipe."""
    once = reference.seeds == 1 or (recipe.seeds == 1 and not fixed)
    return "Fieller with the crossed t" + (", holds for this one run only" if once else "")
