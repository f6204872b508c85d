"""The next run, and what a study of this size can see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from safeft.errors import DataError
from safeft.stats import (
    contrast,
    detectable_beside,
    prediction_interval,
    proportion,
)

from .designs import verdicts


@pytest.mark.parametrize(("S", "multiplier"), [(3, 4.97), (5, 3.04), (10, 2.37), (20, 2.14)])
def test_prediction_multiplier(S: int, multiplier: float) -> None:
    """mean ± t·s·√(1+1/S) on the arcsine scale: the multipliers of evaluation.md."""
    y = verdicts(np.random.default_rng(0), (S, 400, 2), run_sd=0.02)
    runs = np.arcsin(np.sqrt(y.mean(axis=(1, 2))))
    got = prediction_interval(y)
    half = np.arcsin(np.sqrt(got.high)) - runs.mean()
    assert half == pytest.approx(multiplier * runs.std(ddof=1), rel=0.003)
    assert got.estimate == pytest.approx(y.mean())


@given(st.integers(0, 2**31), st.floats(0, 1), st.integers(2, 6))
def test_predicted_rates_stay_rates(seed: int, rate: float, S: int) -> None:
    """0 ≤ low < high ≤ 1, also next to the edges and when all runs are equal."""
    got = prediction_interval(verdicts(np.random.default_rng(seed), (S, 20, 1), rate, 0.1))
    assert 0 <= got.low < got.high <= 1
    assert got.n == S


def test_equal_runs_get_wilson() -> None:
    """0/440 in three runs does not promise 0 in the fourth."""
    got = prediction_interval(np.zeros((3, 440, 1)))
    wilson = proportion(0, 440)
    assert (got.low, got.high) == (wilson.low, wilson.high)


@given(st.integers(0, 2**31))
def test_runs_of_equal_counts_are_equal(seed: int) -> None:
    """The order of a sum is no spread: the same verdicts on other prompts get Wilson too."""
    one = (np.arange(1320) % 3 > 1).astype(float)
    other = np.random.default_rng(seed).permutation(one)
    got = prediction_interval([one.reshape(440, 3), other.reshape(440, 3)])
    assert got.method == "Wilson over prompts: all runs are equal"
    assert got.low < 0.3 < 0.36 < got.high


def test_one_run_predicts_nothing() -> None:
    """The next run's spread cannot be had from one."""
    with pytest.raises(DataError, match="two or more training seeds"):
        prediction_interval(np.zeros((1, 5, 1)))


def test_the_next_run_falls_inside() -> None:
    """At least 91 % of 400 fresh runs lie in the nominal 95 % interval of five others."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        y = verdicts(generator, (6, 200, 1), 0.3, run_sd=0.06)
        got = prediction_interval(y[:5])
        held += got.low <= y[5].mean() <= got.high
    assert held / 400 > 0.91


def detectable(run_sd: float, seeds: int) -> float:
    """What two arms of `seeds` runs, each with exactly this spread, could have shown."""
    runs = np.arange(seeds, dtype=float)
    runs *= run_sd / runs.std(ddof=1)
    arm = runs[:, None, None]
    return detectable_beside(contrast(arm, arm + 1, bounded=False))


@pytest.mark.parametrize(
    ("run_sd", "expected"),
    [(2.0, (6.1, 4.0, 2.6)), (4.25, (13.1, 8.6, 5.6)), (7.0, (21.5, 14.2, 9.3))],
)
def test_detectable_table(run_sd: float, expected: tuple[float, ...]) -> None:
    """The table of evaluation.md for 3, 5 and 10 seeds, in percentage points."""
    got = [detectable(run_sd, seeds) for seeds in (3, 5, 10)]
    assert got == pytest.approx(expected, abs=0.06)
    assert {type(one) for one in got} == {float}


def test_power_is_what_was_asked_for() -> None:
    """At the detectable difference a two-sided t test rejects with 80 %."""
    seeds, run_sd = 5, 0.04
    shift = detectable(run_sd, seeds) / (run_sd * np.sqrt(2 / seeds))
    critical = reference.t.ppf(0.975, 8)
    power = reference.nct.sf(critical, 8, shift) + reference.nct.cdf(-critical, 8, shift)
    assert power == pytest.approx(0.8, abs=1e-3)


@given(st.integers(2, 30))
def test_more_seeds_see_more(seeds: int) -> None:
    """Falls with seeds, grows in proportion to the spread."""
    here = detectable(1.0, seeds)
    assert detectable(1.0, seeds + 1) < here
    assert detectable(3.0, seeds) == pytest.approx(3 * here)


def test_beside_a_wider_interval_less_is_seen() -> None:
    """A simultaneous comparison is planned at its own level; without variance nothing can be."""
    runs = np.array([0.0, 1.0, 2.0, 3.0, 4.0])[:, None, None]
    at = [detectable_beside(contrast(runs, runs + 1, one, bounded=False)) for one in (0.95, 0.98)]
    assert at[0] < at[1]
    equal = contrast(np.ones((2, 3, 1)), np.ones((2, 3, 1)), bounded=False)
    assert np.isnan(detectable_beside(equal))
