"""How large a comparison must be: seeds, prompts and decodings for a difference worth seeing."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.crossed import Error, join, satterthwaite
from safeft.stats.distributions import t_quantile, upper_point
from safeft.stats.layout import Floats, cube, mean_read
from safeft.stats.planning import POWER
from safeft.stats.variance import balanced, component, sources

STUDIES = 4000
MOST = 2**30  # of a factor: what these do not show, no number does
Factor = Literal["seeds", "prompts", "decodes"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations behind a difference of two recipes, as rates (0.04 = 4 points).

    `training` and `decoding` shift a whole run of one recipe; `prompt` is the difference's own over
    prompts; `interaction` is a training run's own on each prompt, which every decoding of that run
    repeats; `residual` is that of one verdict around all of them.
    """

    training: float
    prompt: float
    residual: float
    decoding: float = 0.0
    interaction: float = 0.0

    def __post_init__(self) -> None:
        """Raises DataError for negative values, or when nothing varies."""
        values = (self.training, self.prompt, self.residual, self.decoding, self.interaction)
        if min(values) < 0 or not max(values) > 0 or not np.isfinite(values).all():
            raise DataError(f"standard deviations must be 0 or more, and one above 0: {values}")


@dataclass(frozen=True, slots=True)
class Design:
    """Training seeds a recipe, prompts, and decoding seeds a training seed."""

    seeds: int
    prompts: int
    decodes: int = 1

    def __post_init__(self) -> None:
        """Raises DataError for a design that cannot show a training seed's effect."""
        if self.seeds < 2 or self.prompts < 2 or self.decodes < 1:
            raise DataError(
                f"{self.seeds} seeds, {self.prompts} prompts, {self.decodes} decodings: a plan "
                "needs two training seeds, two prompts and one decoding or more"
            )


def spread_of(a_SPK: npt.ArrayLike, b_SPK: npt.ArrayLike) -> Spread:
    """What a pilot of two recipes says, by the method of moments; few seeds say it roughly.

    a_SPK, b_SPK: training seeds × prompts × decoding seeds of the same prompts. With one decoding
    each, nothing tells a draw from what the next draw would repeat: all of it counts as the latter,
    so that more decodings promise nothing. Raises DataError with one training seed in each arm.
    """
    arms = [cube(a_SPK), cube(b_SPK)]
    found = [_split(arm) for arm in arms]
    if not any("training" in one for one in found):
        raise DataError(
            "a pilot needs two or more training seeds in one of its recipes, and verdicts that vary"
        )
    mean = {name: _mean(one[name] for one in found if name in one) for name in _SPLIT}
    means_P = [mean_read(mean_read(arm, axis=2), axis=0) for arm in arms]
    both = means_P[0] - means_P[1]
    noise = sum(_one_prompt(mean, arm.shape[2]) / arm.shape[0] for arm in arms)
    prompt = max(0.0, float(np.nanvar(both, ddof=1)) - noise)
    return Spread(prompt=math.sqrt(prompt), **{name: math.sqrt(one) for name, one in mean.items()})


_SPLIT = ("training", "decoding", "interaction", "residual")


def _split(arm_SPK: Floats) -> dict[str, float]:
    """The variances that one recipe's runs show, by their names in `Spread`; none is below 0."""
    try:
        values_SPK = balanced(arm_SPK)
    except DataError:  # one run, or one prompt, has nothing to split
        return {}
    if np.ptp(values_SPK) == 0:  # verdicts that never vary say nothing of how others would
        return {}
    terms = sources(values_SPK)
    names = {"training_seed": "training", "decoding_seed": "decoding"}
    found = {
        names[name]: component(name, one, 0.95).standard_deviation ** 2
        for name, one in terms.items()
        if name in names
    }
    last = terms["residual"]
    total = sum(term.part for term in last)
    if values_SPK.shape[2] == 1:
        return found | {"interaction": total}
    cell, draw = last[0], last[-1]  # seed × prompt, and the draw within it: one with a single seed
    repeats = max(0.0, cell.coefficient * (cell.value - draw.value))
    return found | {"interaction": repeats, "residual": total - repeats}


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return float(np.mean(known)) if known else 0.0


def _one_prompt(variances: Mapping[str, float], decodes: int) -> float:
    """The variance of a run's rate on one prompt around run and prompt."""
    return variances["interaction"] + variances["residual"] / decodes


def detectable(
    spread: Spread, design: Design, *, recipes: int = 1, level: float = 0.95, power: float = POWER
) -> float:
    """The smallest true difference to the baseline that such a design shows with this power.

    From 4,000 simulated studies with normal effects, since with few seeds the standard error itself
    is a guess, and the textbook's noncentral t promises too much (three seeds: 80 % are 68 %). With
    `recipes` compared at once, each stands at Bonferroni's level, as in a report.
    """
    point = upper_point(1 - (1 - level) / recipes)
    short = [
        t_quantile(point, error.freedom) * error.standard - found
        for found, error in _studies(spread, design, np.random.default_rng(STUDIES))
    ]
    return max(0.0, float(np.quantile(short, power)))


def _studies(
    spread: Spread, design: Design, draw: np.random.Generator
) -> Iterator[tuple[float, Error]]:
    """What `contrast` finds, and its error, in studies of two recipes that do not differ.

    The runs' variance is drawn; those of prompts and residuals have hundreds of degrees of freedom
    and stand at their expectation.
    """
    S, P, K = design.seeds, design.prompts, design.decodes
    draws = (spread.interaction**2 + spread.residual**2 / K) / (S * P)
    run = spread.training**2 + spread.decoding**2 / K
    prompt = spread.prompt**2 / P
    found = math.sqrt(2 * run / S + prompt + 2 * draws) * draw.standard_normal(STUDIES)
    terms = (run / S + draws) * draw.chisquare(S - 1, (STUDIES, 2)) / (S - 1)
    for difference, (a, b) in zip(found.tolist(), terms.tolist(), strict=True):
        seeds = satterthwaite([Error(a, S - 1), Error(b, S - 1)])
        rest = max(prompt + 2 * draws - seeds.variance, prompt, 0.0)
        yield difference, join(seeds, Error(rest, float(P - 1)))


def needed(
    spread: Spread,
    difference: float,
    design: Design,
    factor: Factor,
    *,
    recipes: int = 1,
    level: float = 0.95,
    power: float = POWER,
) -> int | None:
    """The fewest of one factor that detect `difference`, the design's others being as they are.

    That many suffice and one fewer does not. None when no number does: what the others leave in
    doubt is too much already. Raises DataError for a difference that is no rate above 0.
    """
    if not 0 < difference < 1:
        raise DataError(f"difference: expected a rate between 0 and 1, found {difference}")

    def enough(number: int) -> bool:
        other = replace(design, **{factor: number})
        return detectable(spread, other, recipes=recipes, level=level, power=power) <= difference

    least = 1 if factor == "decodes" else 2
    if enough(least):
        return least
    if not enough(MOST):
        return None
    # Which doubling, then where in it: studies are simulated anew for every number that is tried.
    doublings = [2**step for step in range(least.bit_length(), MOST.bit_length())]
    upper = doublings[bisect_left(doublings, True, hi=len(doublings) - 1, key=enough)]
    within = range(upper // 2 + 1, upper)
    fewest: int = within.start + bisect_left(within, True, key=enough)
    return fewest
