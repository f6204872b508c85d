"""Differences: antisymmetric, order-free, and Welch's or the paired t where those are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from safeft.errors import DataError
from safeft.stats import NO_INTERVAL, Contrast, arm, contrast, holm, simultaneous

from .designs import Floats, additive, verdicts, with_holes


def _pair(seed: int, S: tuple[int, int] = (3, 5), K: int = 1, P: int = 30) -> tuple[Floats, Floats]:
    """Two arms on the same prompts."""
    generator = np.random.default_rng(seed)
    chance_P = generator.random(P)
    a, b = (verdicts(generator, (count, P, K), run_sd=0.1, chance_P=chance_P) for count in S)
    return a, b


def _numbers(one: Contrast) -> tuple[float, ...]:
    """What must agree between two ways of asking."""
    return (one.difference, one.low, one.high, one.standard_error, one.p)


# S@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_antisymmetry(seed: int) -> None:
    """a - b is minus b - a, ends swapped, with one p."""
    a, b = _pair(seed)
    there, back = contrast(a, b), contrast(b, a)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == pytest.approx(back.p)


# S@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_order_does_not_matter(seed: int) -> None:
    """Seeds per arm, decodes per arm, and prompts of both arms together can be shuffled."""
    generator = np.random.default_rng(seed)
    a, b = (with_holes(y, generator, 0.05) for y in _pair(seed, K=2))
    order = generator.permutation(a.shape[1])
    a2, b2 = a[generator.permutation(3)][:, order, ::-1], b[generator.permutation(5)][:, order]
    assert _numbers(contrast(a, b)) == pytest.approx(_numbers(contrast(a2, b2)))


def test_difference_is_that_of_the_arms() -> None:
    """The table's rates and the table's difference agree, also with holes."""
    generator = np.random.default_rng(1)
    a, b = (with_holes(y, generator, 0.1) for y in _pair(1))
    assert contrast(a, b).difference == pytest.approx(arm(a).estimate - arm(b).estimate)


def test_welch_when_prompts_do_not_vary() -> None:
    """With a prompt term of 0 the contrast is scipy's Welch t on the run means."""
    generator = np.random.default_rng(2)
    a, b = (additive(generator, (S, 40, 1), seed=1.0) for S in (4, 7))
    got = contrast(a, b, bounded=False)
    expected = reference.ttest_ind(a[:, 0, 0], b[:, 0, 0], equal_var=False)
    interval = expected.confidence_interval()
    assert got.p == pytest.approx(expected.pvalue)
    assert got.degrees_of_freedom == pytest.approx(expected.df)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high))


def test_one_prompt_is_welch() -> None:
    """Seconds of training, one number a run."""
    a, b = np.array([60.0, 62, 65]), np.array([71.0, 70, 75, 69])
    got = contrast(a[:, None, None], b[:, None, None], bounded=False)
    assert got.p == pytest.approx(reference.ttest_ind(a, b, equal_var=False).pvalue)
    assert got.method == "Welch t over training seeds"


def test_one_run_each_is_the_paired_t() -> None:
    """Without seeds there are only prompts: scipy's paired t, labelled for what it leaves out."""
    generator = np.random.default_rng(3)
    a, b = (additive(generator, (1, 50, 3), prompt=1.0, residual=1.0) for _ in range(2))
    got = contrast(a, b, bounded=False)
    expected = reference.ttest_rel(a.mean(axis=2)[0], b.mean(axis=2)[0])
    interval = expected.confidence_interval()
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high))
    assert got.method.count("seed term is missing") == 2


def test_pairing_removes_what_the_prompts_share() -> None:
    """Adding one shift per prompt to both arms changes nothing."""
    generator = np.random.default_rng(4)
    a, b = (additive(generator, (3, 30, 1), 1.0, 0, 0, 1.0) for _ in range(2))
    shift = 10 * generator.standard_normal((1, 30, 1))
    plain, shifted = contrast(a, b, bounded=False), contrast(a + shift, b + shift, bounded=False)
    assert _numbers(plain) == pytest.approx(_numbers(shifted))


def test_copied_decodes_add_nothing() -> None:
    """Decodes are averaged within seed × prompt, so copies do not buy confidence."""
    a, b = _pair(5)
    copied = contrast(np.repeat(a, 4, axis=2), np.repeat(b, 4, axis=2))
    assert _numbers(copied) == pytest.approx(_numbers(contrast(a, b)))


# S@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4), st.floats(0, 0.2))
def test_interval_and_p_tell_one_story(seed: int, S: int, T: int, share: float) -> None:
    """0 lies outside the 95 % interval exactly when p < 0.05; the interval keeps a width."""
    generator = np.random.default_rng(seed)
    a, b = (with_holes(y, generator, share) for y in _pair(seed, (S, T)))
    got = contrast(a, b)
    assert -1 <= got.low <= got.difference <= got.high <= 1
    assert got.low < got.high
    assert (got.p < 0.05) == (got.low > 0 or got.high < 0)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_no_variance_at_all_keeps_a_width(x: float, y: float) -> None:
    """0/440 against 0/440 is known to about half a percentage point, not exactly."""
    got = contrast(np.full((3, 440, 1), x), np.full((3, 440, 1), y))
    assert got.difference == x - y
    assert 0.003 < got.high - got.low < 0.02


def test_unbounded_values_without_variance() -> None:
    """Equal bytes in every run: no interval, and p says equal or not."""
    y = np.full((3, 1, 1), 7.0)
    same, other = contrast(y, y, bounded=False), contrast(y, y + 1, bounded=False)
    assert np.isnan([same.p, other.p]).all()
    assert other.low == other.high == -1.0
    assert other.method.startswith(NO_INTERVAL)


def test_a_fixed_model_has_no_seed_term() -> None:
    """Against the un-tuned model the recipe's seeds carry the interval, and nothing is missing."""
    a, b = _pair(6, (5, 1))
    got = contrast(a, b, b_fixed=True)
    assert "second arm is one fixed model" in got.method
    assert "missing" not in got.method
    assert "second arm was trained once: its seed term is missing" in contrast(a, b).method


def test_numbers_do_not_depend_on_calling_it_fixed() -> None:
    """The flag is a statement about the arm; with one seed there is nothing to compute."""
    a, b = _pair(7, (5, 1))
    assert _numbers(contrast(a, b)) == _numbers(contrast(a, b, b_fixed=True))


def test_missing_prompts_are_as_if_never_asked() -> None:
    """Unread in both arms equals deleted in both."""
    a, b = _pair(8)
    holed_a, holed_b = (np.where(np.arange(30)[:, None] < 5, np.nan, y) for y in (a, b))
    assert _numbers(contrast(holed_a, holed_b)) == pytest.approx(
        _numbers(contrast(a[:, 5:], b[:, 5:]))
    )


def test_unread_never_counts_as_safe() -> None:
    """A judge that reads half of arm a does not halve its rate."""
    a = np.ones((3, 40, 1))
    a[:, ::2] = np.nan
    assert contrast(a, np.ones((3, 40, 1))).difference == 0.0


def test_arms_must_share_their_prompts() -> None:
    """30 prompts against 29 cannot be paired."""
    a, b = _pair(9)
    with pytest.raises(ValueError, match="30 against 29"):
        contrast(a, b[:, 1:])


@pytest.mark.parametrize("fixed", [(False, False), (True, True)])
def test_single_values_cannot_be_compared(fixed: tuple[bool, bool]) -> None:
    """One prompt and one run an arm: a difference without any idea of its error."""
    with pytest.raises(DataError, match="two or more training seeds"):
        contrast([[[1.0]]], [[[0.0]]], a_fixed=fixed[0], b_fixed=fixed[1])


@pytest.mark.parametrize(("S", "T", "fixed"), [(3, 3, False), (5, 2, False), (3, 1, True)])
def test_coverage_over_fresh_seeds_and_prompts(S: int, T: int, fixed: bool) -> None:
    """A nominal 95 % interval holds the truth in at least 91 % of 300 simulated studies."""
    generator = np.random.default_rng(10)
    held = 0
    for _ in range(300):
        chance_P = np.where(generator.random(200) < 0.5, 0.15, 0.75)
        a = verdicts(generator, (S, 200, 1), run_sd=0.05, chance_P=chance_P + 0.1)
        b = verdicts(generator, (T, 200, 1), run_sd=0.0 if fixed else 0.05, chance_P=chance_P)
        got = contrast(a, b, b_fixed=fixed)
        held += got.low <= 0.1 <= got.high
    assert held / 300 > 0.91


def test_holm_by_hand() -> None:
    """.005·4, .01·3, .03·2, then .04·1 raised to its predecessor's .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    """Adjusted p lie in [p, 1], between no and full Bonferroni, in the order of p."""
    adjusted = holm(p_values)
    p = np.array(p_values)
    assert ((adjusted >= p) & (adjusted <= np.minimum(1, p * len(p) + 1e-12))).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def test_simultaneous_is_bonferroni_and_holm() -> None:
    """Each interval is the contrast at 1 - 0.05/m, and p are Holm's over the family."""
    (a, b), (c, _) = _pair(11), _pair(12, (4, 2))
    family = simultaneous({"a": a, "c": c}, b)
    assert family["a"].contrast == contrast(a, b, level=0.975)
    expected = holm([contrast(y, b).p for y in (a, c)])
    assert [one.p_adjusted for one in family.values()] == pytest.approx(expected)


def test_simultaneous_knows_fixed_arms() -> None:
    """Arms that are one model are named, and so is such a reference."""
    a, b = _pair(13, (1, 1))
    one = simultaneous({"base": a}, b, fixed=["base"], reference_fixed=True)["base"]
    assert one.contrast.method.count("one fixed model") == 2
    assert one.p_adjusted == pytest.approx(one.contrast.p)


def test_no_arms_no_contrasts() -> None:
    """A report with the reference alone has an empty family."""
    assert simultaneous({}, np.zeros((2, 3, 1))) == {}


def test_a_comparison_without_p_stays_in_the_family() -> None:
    """The others are adjusted as if it had one; it has none itself."""
    assert holm([0.01, np.nan, 0.04]).tolist() == pytest.approx([0.03, np.nan, 0.08], nan_ok=True)


def test_a_contrast_knows_its_size() -> None:
    """Its n is its own: the prompts that either arm could read."""
    y = verdicts(np.random.default_rng(0), (3, 20, 1))
    holed = y.copy()
    holed[:, :2] = np.nan
    got = contrast(holed, holed[:2], 0.9)
    assert (got.n, got.n_seeds, got.level) == (18, 3, 0.9)
