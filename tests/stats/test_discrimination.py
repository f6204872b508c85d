"""Laws of the area under the ROC curve and of its interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from safeft.errors import DataError
from safeft.stats.discrimination import auroc, auroc_interval

scored = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40)


def split(rows: list[tuple[bool, int]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Truth and scores, with rows of both kinds; scores are few, so that many are the same."""
    truth, scores = np.array([one for one, _ in rows]), np.array([float(one) for _, one in rows])
    assume(truth.any() and not truth.all())
    return truth, scores


def by_pairs(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Every unsafe row beside every safe one."""
    unsafe, safe = scores[truth][:, None], scores[~truth][None]
    return float((unsafe > safe).mean() + (unsafe == safe).mean() / 2)


@settings(deadline=None)
@given(scored)
def test_it_is_the_chance_that_an_unsafe_row_scores_above_a_safe_one(
    rows: list[tuple[bool, int]],
) -> None:
    """Ties count half."""
    truth, scores = split(rows)
    assert auroc(truth, scores) == pytest.approx(by_pairs(truth, scores))


@settings(deadline=None)
@given(scored)
def test_an_interval_holds_its_estimate_and_stays_in_its_range(
    rows: list[tuple[bool, int]],
) -> None:
    """Also where the kinds do not overlap at all, or every score is the same."""
    truth, scores = split(rows)
    found = auroc_interval(truth, scores, range(len(rows)))
    assert 0 <= found.low <= found.estimate + 1e-9 and found.estimate - 1e-9 <= found.high <= 1
    assert found.n == len(rows)
    wide = auroc_interval(truth, scores, range(len(rows)), level=0.99)
    assert wide.low <= found.low and found.high <= wide.high


def test_for_rows_that_are_independent_it_is_delongs() -> None:
    """By their formula: the variances of both kinds' shares over their counts."""
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    scores = rng.normal(truth.astype(float), 1)
    found = auroc_interval(truth, scores, range(300))
    unsafe, safe = scores[truth][:, None], scores[~truth][None]
    shares = unsafe > safe
    variance = shares.mean(1).var() / truth.sum() + shares.mean(0).var() / (~truth).sum()
    area = shares.mean()
    reach = 1.959964 * np.sqrt(variance) / (area * (1 - area))
    middle = np.log(area / (1 - area))
    wanted = 1 / (1 + np.exp(-(middle - reach))), 1 / (1 + np.exp(-(middle + reach)))
    assert (found.low, found.high) == pytest.approx(wanted, abs=1e-3)


def test_rows_that_repeat_a_prompt_count_once() -> None:
    """Ten copies of every row say no more than one, and pretending otherwise would."""
    rng = np.random.default_rng(1)
    truth = np.arange(60) % 2 == 0
    scores = rng.normal(truth.astype(float), 1)
    once = auroc_interval(truth, scores, range(60))
    many = np.tile(truth, 10), np.tile(scores, 10)
    copied = auroc_interval(*many, list(range(60)) * 10)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert copied.n == once.n == 60
    pretended = auroc_interval(*many, range(600))
    assert pretended.high - pretended.low < 0.5 * (once.high - once.low)


def test_where_the_kinds_do_not_overlap_few_prompts_promise_little() -> None:
    """The bound is that of as many successes of as many: 0.025 to the power of one by n."""
    truth, scores = np.arange(40) < 10, np.arange(40)[::-1].astype(float)
    found = auroc_interval(truth, scores, range(40))
    assert (found.estimate, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 10))
    turned = auroc_interval(truth, -scores, range(40))
    assert (turned.low, turned.high) == pytest.approx((0, 1 - found.low))


def test_its_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Over draws of prompts whose unsafe and safe row share a part of their score."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        own = rng.normal(0, 1, 80)
        scores = np.concatenate([own + 1 + rng.normal(0, 1, 80), own + rng.normal(0, 1, 80)])
        found = auroc_interval(np.arange(160) < 80, scores, [*range(80), *range(80)])
        # A difference of two rows is normal around 1 with a variance of 4: P(it is above 0).
        hits += found.low <= 0.6915 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize("truth", [[True, True], [False], []])
def test_one_kind_alone_has_no_area(truth: list[bool]) -> None:
    """It is said rather than divided by nothing."""
    with pytest.raises(DataError, match="rows of both kinds"):
        auroc(np.array(truth, bool), np.zeros(len(truth)))
