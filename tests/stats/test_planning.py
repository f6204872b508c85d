"""The next run, and what a study of this size can see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from safeft.errors import DataError
from safeft.stats import (
    NO_INTERVAL,
    contrast,
    detectable_beside,
    minimum_detectable,
    prediction_interval,
    proportion,
)

from .designs import additive, verdicts


@pytest.mark.parametrize(("S", "multiplier"), [(3, 4.97), (5, 3.04), (10, 2.37), (20, 2.14)])
def test_prediction_multiplier(S: int, multiplier: float) -> None:
    """mean ± t·s·√(1+1/S): the multipliers of evaluation.md."""
    y = additive(np.random.default_rng(0), (S, 4, 2), seed=1.0)
    runs = y.mean(axis=(1, 2))
    got = prediction_interval(y, bounded=False)
    assert got.high - runs.mean() == pytest.approx(multiplier * runs.std(ddof=1), rel=0.003)
    assert got.estimate == pytest.approx(runs.mean())


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
    assert prediction_interval(np.zeros((3, 9, 1)), bounded=False).method.startswith(NO_INTERVAL)


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


@pytest.mark.parametrize(
    ("run_sd", "expected"),
    [(2.0, (6.1, 4.0, 2.6)), (4.25, (13.1, 8.6, 5.6)), (7.0, (21.5, 14.2, 9.3))],
)
def test_minimum_detectable_table(run_sd: float, expected: tuple[float, ...]) -> None:
    """The table of evaluation.md for 3, 5 and 10 seeds, in percentage points."""
    got = [minimum_detectable(run_sd, seeds) for seeds in (3, 5, 10)]
    assert got == pytest.approx(expected, abs=0.06)


def test_power_is_what_was_asked_for() -> None:
    """At the minimum detectable difference a two-sided t test rejects with 80 %."""
    seeds, run_sd = 5, 0.04
    shift = minimum_detectable(run_sd, seeds) / (run_sd * np.sqrt(2 / seeds))
    critical = reference.t.ppf(0.975, 8)
    power = reference.nct.sf(critical, 8, shift) + reference.nct.cdf(-critical, 8, shift)
    assert power == pytest.approx(0.8, abs=1e-3)


@given(st.integers(2, 30), st.floats(0.5, 0.95))
def test_more_seeds_see_more_and_more_power_costs(seeds: int, power: float) -> None:
    """Falls with seeds, grows with power and in proportion to the spread."""
    here = minimum_detectable(1.0, seeds, power=power)
    assert minimum_detectable(1.0, seeds + 1, power=power) < here
    assert minimum_detectable(1.0, seeds, power=power + 0.02) > here
    assert minimum_detectable(3.0, seeds, power=power) == pytest.approx(3 * here)


def test_one_seed_cannot_be_planned_for() -> None:
    """From one run per arm no variance can be had."""
    with pytest.raises(ValueError, match="two or more seeds"):
        minimum_detectable(1.0, 1)


def test_beside_a_contrast_uses_its_own_error() -> None:
    """With Welch's error of two equal spreads it is the planner's number."""
    runs = np.array([0.0, 1.0, 2.0, 3.0, 4.0])[:, None, None]
    got = detectable_beside(contrast(runs, runs + 1, bounded=False))
    assert got == pytest.approx(minimum_detectable(float(runs.std(ddof=1)), 5))
    assert type(got) is float


def test_beside_a_wider_interval_less_is_seen() -> None:
    """A simultaneous comparison is planned at its own level; without variance nothing can be."""
    runs = np.array([0.0, 1.0, 2.0, 3.0, 4.0])[:, None, None]
    at = [detectable_beside(contrast(runs, runs + 1, one, bounded=False)) for one in (0.95, 0.98)]
    assert at[0] < at[1]
    equal = contrast(np.ones((2, 3, 1)), np.ones((2, 3, 1)), bounded=False)
    assert np.isnan(detectable_beside(equal))
