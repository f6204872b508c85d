"""Components recover what was put in, and say how little few runs show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from safeft.errors import DataError
from safeft.stats import Component, components, spread_ratio

from .designs import Floats, additive, verdicts, with_holes


def _by_name(y: Floats, level: float = 0.95) -> dict[str, Component]:
    """Components under their names."""
    return {one.name: one for one in components(y, level)}


def test_noise_free_effects_come_back_exactly() -> None:
    """Seeds and prompts that only add: their sample standard deviations, and no residual."""
    seed_S, prompt_P = np.array([0.0, 1.0, 5.0]), np.array([2.0, -1.0, 0.0, 4.0])
    got = _by_name((seed_S[:, None] + prompt_P)[:, :, None])
    assert got["training_seed"].standard_deviation == pytest.approx(seed_S.std(ddof=1))
    assert got["prompt"].standard_deviation == pytest.approx(prompt_P.std(ddof=1))
    assert got["residual"].standard_deviation == pytest.approx(0, abs=1e-7)


def test_components_recover_the_truth() -> None:
    """Mean variance over 200 designs of 8 seeds × 60 prompts × 3 decodes, within a tenth."""
    truth = {"training_seed": 1.5, "decoding_seed": 1.0, "prompt": 2.0, "residual": 1.0}
    generator = np.random.default_rng(0)
    drawn = [_by_name(additive(generator, (8, 60, 3), 1.5, 1.0, 2.0, 1.0)) for _ in range(200)]
    for name, expected in truth.items():
        variance = np.mean([one[name].standard_deviation ** 2 for one in drawn])
        assert variance == pytest.approx(expected**2, rel=0.1)


def test_binary_verdicts_recover_the_run_spread() -> None:
    """For verdicts too: the runs' standard deviation on the probability scale."""
    generator = np.random.default_rng(1)
    chance_P = generator.uniform(0.3, 0.7, 200)
    drawn = [
        _by_name(verdicts(generator, (10, 200, 1), run_sd=0.08, chance_P=chance_P))
        for _ in range(100)
    ]
    variance = np.mean([one["training_seed"].standard_deviation ** 2 for one in drawn])
    assert math.sqrt(variance) == pytest.approx(0.08, rel=0.1)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((3, 9, 1), ["training_seed", "prompt", "residual"]),
        ((1, 9, 4), ["decoding_seed", "prompt", "residual"]),
        ((3, 9, 2), ["training_seed", "decoding_seed", "prompt", "residual"]),
    ],
)
def test_what_the_design_cannot_show_is_left_out(
    shape: tuple[int, int, int], names: list[str]
) -> None:
    """One decode has no decoding component; it is absent, not 0."""
    y = additive(np.random.default_rng(2), shape, 1.0, 1.0, 1.0, 1.0)
    assert [one.name for one in components(y)] == names


# S@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(2, 12), st.integers(1, 3))
def test_shares_sum_to_one_and_intervals_hold_the_estimate(
    seed: int, S: int, P: int, K: int
) -> None:
    """Shares are a split of the total; 0 ≤ low ≤ SD ≤ high."""
    got = components(additive(np.random.default_rng(seed), (S, P, K), 1.0, 0.5, 1.0, 1.0))
    assert sum(one.share for one in got) == pytest.approx(1)
    for one in got:
        assert 0 <= one.low <= one.standard_deviation + 1e-9
        assert one.standard_deviation <= one.high + 1e-9
        assert one.low < one.high


# S@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_scale_and_order(seed: int, scale: float) -> None:
    """Values times c have standard deviations times c, whatever the order and the offset."""
    generator = np.random.default_rng(seed)
    y = additive(generator, (3, 8, 2), 1.0, 1.0, 1.0, 1.0)
    moved = scale * (y[generator.permutation(3)][:, generator.permutation(8), ::-1] + 3)
    for one, other in zip(components(y), components(moved), strict=True):
        assert other.high == pytest.approx(scale * one.high, rel=1e-6)
        assert other.share == pytest.approx(one.share, abs=1e-9)


@pytest.mark.parametrize("K", [1, 2])
def test_intervals_cover(K: int) -> None:
    """Nominal 95 % intervals hold each true SD in at least 91 % of 300 designs."""
    truth = {"training_seed": 0.5, "decoding_seed": 0.3, "prompt": 0.6, "residual": 1.0}
    generator = np.random.default_rng(3)
    held = dict.fromkeys(truth, 0)
    for _ in range(300):
        y = additive(generator, (5, 40, K), 0.5, 0.3 if K > 1 else 0.0, 0.6, 1.0)
        for one in components(y):
            held[one.name] += one.low <= truth[one.name] <= one.high
    del held["decoding_seed" if K == 1 else "residual"]
    assert min(held.values()) / 300 > 0.91


def test_few_seeds_say_little() -> None:
    """Where runs dominate, 3 seeds give the chi² interval of evaluation.md: ×[0.52, 6.28]."""
    y = additive(np.random.default_rng(4), (3, 400, 1), seed=1.0, residual=1e-3)
    one = _by_name(y)["training_seed"]
    factors = (one.low / one.standard_deviation, one.high / one.standard_deviation)
    assert factors == pytest.approx((0.52, 6.28), rel=0.01)


def test_prompts_with_a_hole_are_left_out() -> None:
    """The expected mean squares need balance: a prompt unread anywhere is as if never asked."""
    y = additive(np.random.default_rng(5), (3, 12, 2), 1.0, 1.0, 1.0, 1.0)
    holed = y.copy()
    holed[1, 3, 0] = np.nan
    assert components(holed) == components(np.delete(y, 3, axis=1))


def test_a_decode_that_one_seed_lacks_is_left_out() -> None:
    """A run that was never decoded a third time costs that decode, not all prompts."""
    y = additive(np.random.default_rng(6), (3, 12, 3), 1.0, 1.0, 1.0, 1.0)
    holed = y.copy()
    holed[0, :, 2] = np.nan
    assert components(holed) == components(y[:, :, :2])


@pytest.mark.parametrize("shape", [(1, 9, 1), (3, 1, 2)])
def test_too_small_a_design_is_an_error(shape: tuple[int, int, int]) -> None:
    """One run, or one prompt, splits nothing."""
    with pytest.raises(DataError, match="two runs and two prompts"):
        components(np.random.default_rng(7).random(shape))


def test_no_prompt_read_everywhere_is_an_error() -> None:
    """Holes in every prompt leave nothing balanced."""
    y = with_holes(np.random.default_rng(8).random((4, 9, 3)), np.random.default_rng(8), 0.5)
    with pytest.raises(DataError, match="0 such prompts"):
        components(y)


def test_equal_verdicts_cannot_be_split() -> None:
    """Shares of nothing are undefined."""
    with pytest.raises(DataError, match="no variance"):
        components(np.zeros((3, 9, 1)))


def test_spread_ratio_is_the_f_interval() -> None:
    """SD ratio with √(ratio²/F), on run means."""
    generator = np.random.default_rng(9)
    a, b = (additive(generator, (S, 20, 2), seed=1.0, residual=1.0) for S in (4, 6))
    got = spread_ratio(a, b)
    square = (a.mean(axis=(1, 2)).var(ddof=1)) / (b.mean(axis=(1, 2)).var(ddof=1))
    expected = [math.sqrt(square / reference.f.ppf(p, 3, 5)) for p in (0.975, 0.025)]
    assert got.estimate == pytest.approx(math.sqrt(square))
    assert [got.low, got.high] == pytest.approx(expected)


def test_spread_ratio_inverts() -> None:
    """b over a is one over a over b."""
    generator = np.random.default_rng(10)
    a, b = (additive(generator, (5, 20, 1), seed=1.0) for _ in range(2))
    there, back = spread_ratio(a, b), spread_ratio(b, a)
    assert there.low == pytest.approx(1 / back.high)


def test_one_seed_has_no_spread() -> None:
    """Neither has an arm whose runs are all equal."""
    y = additive(np.random.default_rng(11), (3, 9, 1), seed=1.0)
    for other in (y[:1], np.zeros((3, 9, 1))):
        with pytest.raises(DataError, match="that differ"):
            spread_ratio(y, other)
