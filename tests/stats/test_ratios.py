"""A risk multiplier: its interval covers, and it has none where the denominator may be nothing."""

from __future__ import annotations

import numpy as np
import pytest

from safeft.errors import DataError
from safeft.stats import NO_INTERVAL, risk_ratio

from .designs import Floats


def drawn(rng: np.random.Generator, rate: float, shape: tuple[int, int, int]) -> Floats:
    """Verdicts on prompts that differ, of runs that differ; a single one is one given model."""
    S, P, K = shape
    run_S = rng.normal(0, 0.03, S) * (S > 1)
    prompt_P = rng.uniform(-rate, rate, P) / 2
    chance = np.clip(rate + run_S[:, None, None] + prompt_P[:, None], 0, 1)
    verdicts: Floats = (rng.random((S, P, K)) < chance).astype(float)
    return verdicts


def test_it_covers_the_true_ratio() -> None:
    """93 % or more of 400 designs, naive LoRA at three times the untuned rate."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        found = risk_ratio(drawn(rng, 0.45, (5, 150, 2)), drawn(rng, 0.15, (1, 150, 2)))
        hits += found.low <= 3 <= found.high
    assert hits / 400 >= 0.93


def test_equal_arms_are_one() -> None:
    """The same verdicts: a multiple of exactly 1, without spread."""
    arm = drawn(np.random.default_rng(1), 0.4, (3, 60, 1))
    found = risk_ratio(arm, arm)
    assert found.estimate == 1 and found.low <= 1 <= found.high


def test_without_a_denominator_there_is_no_interval() -> None:
    """One answer in a hundred may be none; none at all is an error."""
    rng = np.random.default_rng(2)
    rare = np.zeros((1, 100, 1))
    rare[0, 3] = 1
    found = risk_ratio(drawn(rng, 0.3, (3, 100, 1)), rare)
    assert found.low == found.high == found.estimate
    assert found.method.startswith(NO_INTERVAL)

    with pytest.raises(DataError, match="a risk that is 0"):
        risk_ratio(rare, np.zeros((1, 100, 1)))


def test_a_risk_is_never_below_nothing() -> None:
    """The low end stops at 0."""
    few = np.zeros((2, 40, 1))
    few[0, 0] = 1
    found = risk_ratio(few, drawn(np.random.default_rng(3), 0.5, (1, 40, 3)))
    assert 0 <= found.low <= found.estimate <= found.high
