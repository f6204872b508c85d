"""One recipe's rate: no zero width, no false certainty, no NaN counted as 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from safeft.errors import DataError
from safeft.stats import NO_INTERVAL, arm, proportion

from .designs import additive, verdicts, with_holes


@given(st.integers(1, 2000), st.data())
def test_proportion_is_scipys_wilson(n: int, data: st.DataObject) -> None:
    """Agrees with scipy's binomtest, holds the rate and is never empty."""
    k = data.draw(st.integers(0, n))
    got = proportion(k, n)
    expected = reference.binomtest(k, n).proportion_ci(method="wilson")
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert got.low <= k / n <= got.high
    assert got.low < got.high


@given(st.integers(1, 500), st.data())
def test_proportion_mirrors(n: int, data: st.DataObject) -> None:
    """The interval of failures is one minus the interval of successes."""
    k = data.draw(st.integers(0, n))
    hit, miss = proportion(k, n), proportion(n - k, n)
    assert (hit.low, hit.high) == pytest.approx((1 - miss.high, 1 - miss.low))


def test_a_higher_level_is_wider() -> None:
    """99 % holds 95 %."""
    wide, narrow = proportion(7, 50, level=0.99), proportion(7, 50)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_no_trials_is_an_error() -> None:
    """0/0 is not 0."""
    with pytest.raises(DataError, match="n is 0"):
        proportion(0, 0)


@pytest.mark.parametrize(("k", "n"), [(5, 4), (-1, 4)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    """More successes than trials is a bug of the caller."""
    with pytest.raises(ValueError, match="between 0 and n"):
        proportion(k, n)


def test_counts_and_extremes_of_an_arm() -> None:
    """n counts prompts, n_seeds training seeds; minimum and maximum are over seeds."""
    y = np.zeros((2, 4, 2))
    y[0, :2, 0] = 1.0
    y[1, :, 1] = 1.0
    got = arm(y)
    assert (got.n, got.n_seeds) == (4, 2)
    assert (got.minimum, got.estimate, got.maximum) == (0.25, 0.375, 0.5)


# S@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 12), st.integers(1, 3))
def test_order_does_not_matter(seed: int, S: int, P: int, K: int) -> None:
    """Seeds, prompts and decodes carry no order."""
    generator = np.random.default_rng(seed)
    y = with_holes(verdicts(generator, (S, P, K)), generator, 0.1)
    y[0, 0, 0] = 1.0
    shuffled = y[generator.permutation(S)][:, generator.permutation(P)]
    shuffled = shuffled[:, :, generator.permutation(K)]
    a, b = arm(y), arm(shuffled)
    assert (a.estimate, a.low, a.high) == pytest.approx((b.estimate, b.low, b.high))
    assert (a.n, a.n_seeds, a.method) == (b.n, b.n_seeds, b.method)


# S@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 30), st.floats(0, 1))
def test_the_interval_has_width_and_stays_in_range(seed: int, S: int, P: int, rate: float) -> None:
    """0 ≤ low ≤ estimate ≤ high ≤ 1, and low < high, whatever the verdicts."""
    got = arm(verdicts(np.random.default_rng(seed), (S, P, 1), rate, run_sd=0.1))
    assert 0 <= got.low <= got.estimate <= got.high <= 1
    assert got.low < got.high
    assert got.minimum <= got.estimate <= got.maximum


# S@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_failures_mirror_successes(seed: int) -> None:
    """The rate of refusals is one minus the rate of fulfilments, ends swapped."""
    y = verdicts(np.random.default_rng(seed), (3, 20, 2), 0.2, run_sd=0.1)
    hit, miss = arm(y), arm(1 - y)
    assert (hit.low, hit.high) == pytest.approx((1 - miss.high, 1 - miss.low))


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_no_variance_falls_back_to_wilson(constant: float) -> None:
    """0/440 in every run still has an upper bound: Wilson's over 440 prompts, not 1320."""
    got = arm(np.full((3, 440, 1), constant))
    wilson = proportion(int(440 * constant), 440)
    assert (got.low, got.high) == (wilson.low, wilson.high)
    assert got.method.startswith("Wilson over prompts")


def test_one_event_is_about_as_uncertain_as_none() -> None:
    """Next to the edge the interval does not collapse: 1/440 reaches above 0/440."""
    y = np.zeros((1, 440, 1))
    none = arm(y)
    y[0, 7, 0] = 1.0
    assert arm(y).high > none.high
    assert arm(y).low > 0


def test_unread_cells_leave_the_rate() -> None:
    """Half of the cells unread, all others 1: the rate is 1, not one half."""
    y = np.ones((3, 20, 1))
    y[:, ::2] = np.nan
    got = arm(y)
    assert (got.estimate, got.n) == (1.0, 10)


def test_an_unread_prompt_is_as_if_never_asked() -> None:
    """Deleting a prompt and failing to read it are the same."""
    y = verdicts(np.random.default_rng(5), (3, 30, 2), run_sd=0.1)
    holed = y.copy()
    holed[:, 4:9] = np.nan
    assert arm(holed) == arm(np.delete(y, slice(4, 9), axis=1))


def test_an_unread_run_is_as_if_never_trained() -> None:
    """The same for a training seed."""
    y = verdicts(np.random.default_rng(6), (4, 30, 1), run_sd=0.1)
    holed = y.copy()
    holed[2] = np.nan
    assert arm(holed) == arm(np.delete(y, 2, axis=0))


def test_one_run_says_so() -> None:
    """One trained run speaks for itself only; one fixed model is what it is."""
    y = verdicts(np.random.default_rng(7), (1, 60, 1))
    assert "this one run only" in arm(y).method
    assert "one fixed model" in arm(y, fixed=True).method


def test_one_run_without_variance_says_so() -> None:
    """0/440 once is as little the recipe's as 3/440 once."""
    assert "this one run only" in arm(np.zeros((1, 440, 1))).method
    assert "this one run only" not in arm(np.zeros((3, 440, 1))).method


def test_more_runs_of_one_recipe_count_as_runs() -> None:
    """Copying one run five times does not make prompts out of decodes: width stays."""
    y = verdicts(np.random.default_rng(8), (1, 200, 1), 0.3)
    once, copied = arm(y, fixed=True), arm(np.repeat(y, 5, axis=2), fixed=True)
    assert (once.low, once.high) == pytest.approx((copied.low, copied.high))


def test_one_prompt_is_plain_t_over_seeds() -> None:
    """Seconds of training, one number a seed: mean ± t·s/√S."""
    seconds = np.array([61.0, 64.0, 59.0, 66.0])
    got = arm(seconds[:, None, None], bounded=False)
    expected = reference.ttest_1samp(seconds, 0).confidence_interval()
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    assert got.method == "t over training seeds"


@pytest.mark.parametrize("bounded", [True, False])
def test_a_single_value_has_no_interval(bounded: bool) -> None:
    """One number shows no spread: no interval, and the method says it."""
    got = arm([[[0.7]]], bounded=bounded)
    assert got.low == got.estimate == got.high
    assert got.method.startswith(NO_INTERVAL)


def test_equal_unbounded_values_have_no_interval() -> None:
    """Three losses of 2.5 give no scale for an interval, equal rates do (Wilson over runs)."""
    y = np.full((3, 1, 1), 0.5)
    assert arm(y, bounded=False).method.startswith(NO_INTERVAL)
    rate = arm(y)
    assert rate.low < 0.5 < rate.high


def test_unbounded_intervals_are_symmetric() -> None:
    """Losses may leave [0, 1]; their interval is the mean ± t·se."""
    got = arm(additive(np.random.default_rng(9), (4, 30, 2), 1.0, 0, 1.0, 1.0), bounded=False)
    assert got.high - got.estimate == pytest.approx(got.estimate - got.low)


def test_bounded_and_unbounded_agree_in_the_middle() -> None:
    """Far from the edges and with many seeds the two constructions nearly coincide."""
    y = verdicts(np.random.default_rng(10), (20, 400, 1), 0.5, run_sd=0.04)
    rate, loss = arm(y), arm(y, bounded=False)
    assert (rate.low, rate.high) == pytest.approx((loss.low, loss.high), abs=0.001)


def test_rates_outside_the_unit_interval_are_refused() -> None:
    """A loss passed as a rate is a mistake, also when its mean would fit."""
    with pytest.raises(ValueError, match="bounded=False"):
        arm([[[2.0], [-1.0]]])


def test_seconds_stay_above_zero() -> None:
    """Three trainings of one recipe beside other work: the interval is a factor, not a sum."""
    seconds = np.array([44.0, 44.0, 86.0])[:, None, None]
    assert arm(seconds, bounded=False).low < 0
    got = arm(seconds, bounded=False, positive=True)
    assert 0 < got.low < got.estimate < got.high
    assert got.low * got.high == pytest.approx(got.estimate**2)
    assert got.method == "t over training seeds on the log scale"


def test_log_and_plain_scale_agree_where_the_spread_is_small() -> None:
    """1 % of spread: either interval is the same to a tenth of its width."""
    seconds = np.array([99.0, 100.0, 101.0, 100.0])[:, None, None]
    plain, log = (arm(seconds, bounded=False, positive=one) for one in (False, True))
    assert (log.low, log.high) == pytest.approx((plain.low, plain.high), abs=0.1)


def test_positive_values_are_checked() -> None:
    """A loss of 0 has no logarithm."""
    with pytest.raises(ValueError, match="positive=False"):
        arm([[[0.0]], [[1.0]]], bounded=False, positive=True)


def test_a_fixed_model_has_one_seed() -> None:
    """Two seeds of one fixed model make no sense."""
    with pytest.raises(ValueError, match="fixed model"):
        arm(np.zeros((2, 3, 1)), fixed=True)


@pytest.mark.parametrize("S", [1, 2, 3, 5])
def test_coverage_over_fresh_seeds_and_prompts(S: int) -> None:
    """A nominal 95 % interval holds the truth in at least 91 % of 300 simulated studies."""
    generator = np.random.default_rng(11)
    run_sd = 0.05 if S > 1 else 0.0
    held = 0
    for _ in range(300):
        chance_P = np.where(generator.random(200) < 0.5, 0.15, 0.85)
        got = arm(verdicts(generator, (S, 200, 1), run_sd=run_sd, chance_P=chance_P))
        held += got.low <= 0.5 <= got.high
    assert held / 300 > 0.91


def test_values_are_plain_floats() -> None:
    """What goes to JSON is a Python number, and never NaN."""
    got = arm(verdicts(np.random.default_rng(12), (3, 20, 2)))
    numbers = (got.estimate, got.low, got.high, got.minimum, got.maximum)
    assert all(type(number) is float and not math.isnan(number) for number in numbers)
