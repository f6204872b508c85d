"""Tolerance bounds: the promise holds whatever the scores look like, and no line is too high."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from safeft.errors import DataError
from safeft.stats.tolerance import (
    above,
    clopper_pearson,
    exceeds,
    kolmogorov_smirnov,
    needed,
    order_statistic,
    quantiles,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]
alphas = st.floats(0.005, 0.5)
confidences = st.floats(0.5, 0.99)

# Each with the share of all scores at or above a threshold.
SCORES: dict[str, tuple[Draw, Callable[[float], float]]] = {
    "continuous": (lambda rng, n: rng.normal(size=n), lambda t: float(reference.norm.sf(t))),
    "two values": (
        lambda rng, n: rng.binomial(1, 0.04, n).astype(float),
        lambda t: 1.0 if t <= 0 else 0.04 if t <= 1 else 0.0,
    ),
    "ten values": (
        lambda rng, n: rng.integers(0, 10, n).astype(float),
        lambda t: min(10, max(0, 10 - math.ceil(t))) / 10,
    ),
    "one value": (lambda rng, n: np.zeros(n), lambda t: float(t <= 0)),
    "counts": (
        lambda rng, n: rng.poisson(0.3, n).astype(float),
        lambda t: float(reference.poisson.sf(math.ceil(t) - 1, 0.3)),
    ),
    "often infinite": (
        lambda rng, n: np.where(rng.random(n) < 0.03, math.inf, rng.random(n)),
        lambda t: 0.03 + 0.97 * min(1.0, max(0.0, 1 - t)),
    ),
}
DESIGNS = [(14, 0.2, 0.95), (59, 0.05, 0.95), (120, 0.05, 0.95), (299, 0.01, 0.95), (40, 0.1, 0.8)]


@pytest.mark.parametrize(("n", "alpha", "confidence"), DESIGNS)
@pytest.mark.parametrize("kind", SCORES)
def test_the_promise_holds_for_any_distribution(
    kind: str, n: int, alpha: float, confidence: float
) -> None:
    """In 4,000 draws the true rate of `score >= threshold` exceeds alpha as seldom as promised.

    A draw that is refused breaks no promise.
    """
    draw, share = SCORES[kind]
    rng = np.random.default_rng([n, len(kind)])
    broken = 0
    for _ in range(4000):
        with suppress(DataError):
            broken += share(above(draw(rng, n).tolist(), alpha, confidence)) > alpha
    assert reference.binom.sf(broken - 1, 4000, 1 - confidence) > 1e-4


@pytest.mark.parametrize(("n", "alpha", "confidence"), DESIGNS)
def test_no_lower_rank_keeps_the_promise(n: int, alpha: float, confidence: float) -> None:
    """One rank less breaks it for continuous scores: the line is not drawn higher than it must."""
    rank = order_statistic(n, alpha, confidence)
    rng = np.random.default_rng(n)
    scores = np.sort(rng.random((4000, n)), axis=1)
    broken = int((scores[:, rank - 2] < 1 - alpha).sum())
    expected = float(reference.binom.sf(rank - 2, n, 1 - alpha))
    assert expected > 1 - confidence
    assert broken / 4000 == pytest.approx(expected, abs=0.04)


@given(st.integers(1, 3000), alphas, confidences)
def test_the_rank_is_the_smallest_that_the_binomial_allows(
    n: int, alpha: float, confidence: float
) -> None:
    """P(Binomial(n, 1 - alpha) ≥ k) ≤ 1 - confidence by scipy, and not at k - 1."""
    if n < needed(alpha, confidence):
        with pytest.raises(DataError, match=f"at least {needed(alpha, confidence)} "):
            order_statistic(n, alpha, confidence)
        return
    rank = order_statistic(n, alpha, confidence)
    chances = reference.binom.sf([rank - 1, rank - 2], n, 1 - alpha)
    assert 1 <= rank <= n
    assert chances[0] <= (1 - confidence) * (1 + 1e-9)
    assert chances[1] > (1 - confidence) * (1 - 1e-9)


def test_the_known_numbers() -> None:
    """299 draws for 1 % and none of them may lie above; 473 when one may; 59 for 5 %."""
    assert [needed(alpha) for alpha in (0.01, 0.05, 0.1, 0.2, 0.005)] == [299, 59, 29, 14, 598]
    assert order_statistic(299, 0.01) == 299
    assert order_statistic(472, 0.01) == 472
    assert order_statistic(473, 0.01) == 472
    with pytest.raises(DataError, match=r"^298 benign answers are too few .* 1 % .* at least 299"):
        order_statistic(298, 0.01)


@given(alphas, confidences)
def test_needed_is_the_least_that_is_enough(alpha: float, confidence: float) -> None:
    """(1 - alpha)^n is small enough there and not before."""
    n = needed(alpha, confidence)
    assert (1 - alpha) ** n <= (1 - confidence) * (1 + 1e-9)
    assert n == 1 or (1 - alpha) ** (n - 1) > (1 - confidence) * (1 - 1e-9)


@given(st.integers(1, 2000), alphas, confidences)
def test_stricter_promises_draw_higher_lines(n: int, alpha: float, confidence: float) -> None:
    """A lower rate or more confidence: no lower rank, and no fewer draws."""
    assert needed(alpha / 2, confidence) >= needed(alpha, confidence)
    assert needed(alpha, (1 + confidence) / 2) >= needed(alpha, confidence)
    if n >= needed(alpha / 2, confidence):
        assert order_statistic(n, alpha / 2, confidence) >= order_statistic(n, alpha, confidence)


@given(st.lists(st.integers(0, 5).map(float), min_size=14, max_size=60))
def test_ties_at_the_line_are_released(scores: list[float]) -> None:
    """The threshold lies above the order statistic and above nothing else."""
    threshold, rank = above(scores, 0.2), order_statistic(len(scores), 0.2)
    line = sorted(scores)[rank - 1]
    assert threshold > line
    assert sum(one < threshold for one in scores) == sum(one <= line for one in scores) >= rank
    assert above([*scores, 99.0], 0.2) >= threshold


def test_infinite_scores_have_their_rank_and_nan_has_none() -> None:
    """What nobody could read counts as infinite; a NaN would be sorted anywhere."""
    assert above([math.inf, *[0.0] * 21], 0.2) == math.nextafter(0.0, 1.0)
    with pytest.raises(DataError, match="1 of 14 scores are infinite"):
        above([math.inf, *[0.0] * 13], 0.2)
    with pytest.raises(ValueError, match="NaN"):
        above([math.nan, *[0.0] * 21], 0.2)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_impossible_shares_are_refused(value: float) -> None:
    """Neither a rate of 0 nor certainty can be had from a sample."""
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        order_statistic(1000, value)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        needed(0.01, value)


@given(st.integers(1, 2000), st.data())
def test_clopper_pearson_is_scipys(n: int, data: st.DataObject) -> None:
    """Exact at both ends, and it holds the rate."""
    k = data.draw(st.integers(0, n))
    got, expected = clopper_pearson(k, n), reference.binomtest(k, n).proportion_ci(method="exact")
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert got.low <= got.estimate <= got.high
    assert (got.low == 0.0) is (k == 0)
    assert (got.high == 1.0) is (k == n)


def test_clopper_pearson_refuses_what_is_no_share() -> None:
    """0/0 is not 0, and no more than all can succeed."""
    with pytest.raises(DataError, match="n is 0"):
        clopper_pearson(0, 0)
    for k in (-1, 5):
        with pytest.raises(ValueError, match="between 0 and n"):
            clopper_pearson(k, 4)


@given(st.integers(1, 1000), st.floats(0.001, 0.6), st.data())
def test_the_test_of_a_promise_is_scipys(n: int, rate: float, data: st.DataObject) -> None:
    """One-sided and exact; nothing withheld never speaks against it."""
    k = data.draw(st.integers(0, n))
    expected = reference.binomtest(k, n, rate, alternative="greater").pvalue
    assert exceeds(k, n, rate) == pytest.approx(expected, abs=1e-9)
    assert exceeds(0, n, rate) == 1.0


samples = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=300)


@given(samples, st.integers(1, 120))
def test_quantiles_keep_the_distribution(values: list[float], most: int) -> None:
    """Of values that are there; the share at or below any point is right within 1 / most."""
    kept = quantiles(values, most)
    assert len(kept) == min(len(values), most)
    assert set(kept) <= set(values)
    assert kept[-1] == max(values)
    for point in values:
        exact = sum(one <= point for one in values) / len(values)
        assert -1e-12 <= exact - sum(one <= point for one in kept) / len(kept) <= 1 / most + 1e-12


@given(samples, samples)
def test_the_distance_is_scipys_where_nothing_was_left_out(
    first: list[float], second: list[float]
) -> None:
    """And never larger where only quantiles are known: they err towards likeness."""
    exact = reference.ks_2samp(first, second, method="asymp")
    whole = kolmogorov_smirnov(sorted(first), len(first), second)
    assert whole.distance == pytest.approx(exact.statistic)
    few = kolmogorov_smirnov(quantiles(first, 10), len(first), second)
    assert few.distance <= whole.distance + 1e-9
    assert few.p >= whole.p - 1e-9
    assert kolmogorov_smirnov(quantiles(first, 10), len(first), first).distance <= 1e-9


def test_a_shift_is_seen_and_a_fresh_draw_is_not() -> None:
    """Half a standard deviation at n=300, by 100 quantiles; false alarms stay below 5 %."""
    rng = np.random.default_rng(0)
    alarms = {0.0: 0, 0.5: 0}
    for shift, _ in itertools.product(alarms, range(300)):
        known, new = rng.normal(size=300), rng.normal(shift, size=300)
        alarms[shift] += kolmogorov_smirnov(quantiles(known.tolist()), 300, new).p < 0.05
    assert alarms[0.0] <= 20
    assert alarms[0.5] >= 290


def test_nothing_cannot_be_compared() -> None:
    """An empty sample has no distribution."""
    for pair in (([], [1.0]), ([1.0], [])):
        with pytest.raises(DataError, match="empty"):
            kolmogorov_smirnov(pair[0], 1, pair[1])
