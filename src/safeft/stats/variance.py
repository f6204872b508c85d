"""Where the variance comes from: training seed, decoding seed, prompt, and the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.distributions import (
    chi_square_ratio_quantile,
    f_quantile,
    upper_point,
)
from safeft.stats.intervals import Interval
from safeft.stats.layout import Floats, cube, run_sd, summarise

Sources = Mapping[str, "list[MeanSquare]"]


@dataclass(frozen=True, slots=True)
class Component:
    """One source of variance: its standard deviation, interval, and share of the total."""

    name: str
    standard_deviation: float
    low: float
    high: float
    share: float


@dataclass(frozen=True, slots=True)
class MeanSquare:
    """A mean square of the ANOVA, times its coefficient in one component."""

    value: float
    freedom: int
    coefficient: float = 1.0

    def times(self, coefficient: float) -> MeanSquare:
        """The same mean square with a coefficient."""
        return MeanSquare(self.value, self.freedom, coefficient)

    @property
    def part(self) -> float:
        """What it adds to the component, without its sign."""
        return abs(self.coefficient) * self.value


def components(y_SPK: npt.ArrayLike, level: float = 0.95) -> tuple[Component, ...]:
    """Variance components of y = seed + decode(seed) + prompt + residual, crossed with prompts.

    y_SPK: training seeds × prompts × decoding seeds. Method of moments: ANOVA expected mean
    squares, truncated at 0 (Searle, Casella & McCulloch 1992). Intervals: modified large sample
    (Graybill & Wang 1980; Ting et al. 1990), good for normal effects and conservative for
    verdicts. A decoding seed shifts a whole run; the residual holds the interactions and the draw.
    A source that the design cannot show is left out: decoding_seed with one decode, training_seed
    with one training seed (prompt then contains its interaction with that run).
    Only prompts read in every run enter, since the expected mean squares need a balanced design.
    Raises DataError with fewer than two runs or two such prompts.
    """
    found = [component(*one, level) for one in sources(balanced(y_SPK)).items()]
    if not any(one.standard_deviation for one in found):
        raise DataError("no variance to split: every verdict is the same")
    return shared(found)


def component(name: str, terms: Sequence[MeanSquare], level: float) -> Component:
    """A component from its mean squares; what share it has is told by `shared`."""
    point = upper_point(level)
    return Component(
        name=name,
        standard_deviation=math.sqrt(max(0.0, _sum(terms))),
        low=math.sqrt(_bound(terms, point, upper=False)),
        high=math.sqrt(_bound(terms, point, upper=True)),
        share=math.nan,
    )


def shared(found: Sequence[Component]) -> tuple[Component, ...]:
    """The components with their shares of the variance that they make together."""
    total = sum(one.standard_deviation**2 for one in found)
    return tuple(
        replace(one, share=one.standard_deviation**2 / total if total else math.nan)
        for one in found
    )


def spread_ratio(a_SPK: npt.ArrayLike, b_SPK: npt.ArrayLike, level: float = 0.95) -> Interval:
    """SD between a's training runs over SD between b's, with the F interval.

    a_SPK, b_SPK: training seeds × prompts × decoding seeds; n counts the runs of both arms.
    Assumes normal run means. Few seeds say little: 5 + 5 leave a factor 3.1 either way.
    Raises DataError when an arm has one seed, or runs that are all equal.
    """
    a, b = summarise(cube(a_SPK)).runs, summarise(cube(b_SPK)).runs
    if min(len(a), len(b)) < 2 or min(run_sd(a), run_sd(b)) == 0:
        raise DataError("a spread ratio needs two or more training seeds that differ in each arm")
    freedom = (len(a) - 1, len(b) - 1)
    ratio, point = run_sd(a) / run_sd(b), upper_point(level)
    low = ratio / math.sqrt(f_quantile(point, *freedom))
    high = ratio / math.sqrt(f_quantile(1 - point, *freedom))
    return Interval(ratio, low, high, len(a) + len(b), "F over runs")


def balanced(y_SPK: npt.ArrayLike) -> Floats:
    """The decodes that every seed has, and the prompts that were read in all of them."""
    values = cube(y_SPK)
    values = values[:, :, ~np.isnan(values).all(axis=1).any(axis=0)]
    values = values[:, ~np.isnan(values).any(axis=(0, 2))]
    seeds, prompts, decodes = values.shape
    if seeds * decodes < 2 or prompts < 2:
        raise DataError(
            "variance components need two runs and two prompts that were read in all of them, "
            f"got {seeds} training seeds by {decodes} decodes and {prompts} such prompts"
        )
    return values


def sources(values_SPK: Floats) -> Sources:
    """Each component as a signed sum of mean squares (expected mean squares solved)."""
    S, P, K = values_SPK.shape
    seed, prompt, seed_prompt, decode, draw = _mean_squares(values_SPK)
    if K == 1:
        return {
            "training_seed": [seed.times(1 / P), seed_prompt.times(-1 / P)],
            "prompt": [prompt.times(1 / S), seed_prompt.times(-1 / S)],
            "residual": [seed_prompt],
        }
    decoding = [decode.times(1 / P), draw.times(-1 / P)]
    if S == 1:
        between = [prompt.times(1 / K), draw.times(-1 / K)]
        return {"decoding_seed": decoding, "prompt": between, "residual": [draw]}
    n = P * K
    run = [seed.times(1 / n), draw.times(1 / n), seed_prompt.times(-1 / n), decode.times(-1 / n)]
    return {
        "training_seed": run,
        "decoding_seed": decoding,
        "prompt": [prompt.times(1 / (S * K)), seed_prompt.times(-1 / (S * K))],
        "residual": [seed_prompt.times(1 / K), draw.times(1 - 1 / K)],
    }


def _mean_squares(values_SPK: Floats) -> tuple[MeanSquare, ...]:
    """Mean squares: seed, prompt, seed × prompt, decode in seed, and the draw that is left."""
    S, P, K = values_SPK.shape
    grand = values_SPK.mean()
    seed = values_SPK.mean(axis=(1, 2), keepdims=True)
    prompt = values_SPK.mean(axis=(0, 2), keepdims=True)
    run = values_SPK.mean(axis=1, keepdims=True)
    cell = values_SPK.mean(axis=2, keepdims=True)
    return (
        _mean_square(seed - grand, P * K, S - 1),
        _mean_square(prompt - grand, S * K, P - 1),
        _mean_square(cell - seed - prompt + grand, K, (S - 1) * (P - 1)),
        _mean_square(run - seed, P, S * (K - 1)),
        _mean_square(values_SPK - cell - run + seed, 1, S * (K - 1) * (P - 1)),
    )


def _mean_square(effect: Floats, repeats: int, freedom: int) -> MeanSquare:
    """Sum of squares of an effect that stands for `repeats` cells, per degree of freedom."""
    return MeanSquare(repeats * float((effect**2).sum()) / max(freedom, 1), freedom)


def _sum(terms: Sequence[MeanSquare]) -> float:
    """The component: its mean squares with their coefficients."""
    return sum(term.coefficient * term.value for term in terms)


def _bound(terms: Sequence[MeanSquare], point: float, upper: bool) -> float:
    """One end of the modified large-sample interval, at least 0 (Ting et al. 1990).

    The upper bound of a component is minus the lower bound of its negative, so one formula does:
    `gains` widen upwards, `losses` widen downwards.
    """
    positive = [term for term in terms if term.coefficient > 0]
    negative = [term for term in terms if term.coefficient < 0]
    gains, losses = (positive, negative) if upper else (negative, positive)
    square = sum((_stretch(term, point) * term.part) ** 2 for term in gains)
    square += sum((_shrink(term, point) * term.part) ** 2 for term in losses)
    square += sum(
        _cross(loss, gain, point) * loss.part * gain.part
        for loss, gain in itertools.product(losses, gains)
    )
    half = math.sqrt(max(0.0, square))
    # A negative estimate is truncated first: its plain upper bound could be 0, a false certainty.
    return max(0.0, _sum(terms)) + half if upper else max(0.0, _sum(terms) - half)


def _shrink(term: MeanSquare, point: float) -> float:
    """G: how far, relatively, a mean square may lie above its expectation."""
    return 1 - 1 / chi_square_ratio_quantile(point, term.freedom)


def _stretch(term: MeanSquare, point: float) -> float:
    """H: how far, relatively, a mean square may lie below its expectation."""
    return 1 / chi_square_ratio_quantile(1 - point, term.freedom) - 1


def _cross(loss: MeanSquare, gain: MeanSquare, point: float) -> float:
    """The coefficient that makes the bound exact for two mean squares when it touches 0."""
    quantile = f_quantile(point, loss.freedom, gain.freedom)
    shrink, stretch = _shrink(loss, point), _stretch(gain, point)
    return ((quantile - 1) ** 2 - (shrink * quantile) ** 2 - stretch**2) / quantile
