"""The share of a gain: Fieller's interval with the crossed t."""

from __future__ import annotations

import numpy as np
import pytest

from safeft.errors import DataError
from safeft.stats import NO_INTERVAL, gain_share

from .designs import Floats, additive


def losses(seed: int, S: int, share: float, run_sd: float = 0.1) -> tuple[Floats, Floats, Floats]:
    """Start 8, reference 4 and a recipe that keeps a share of the gain, on the same rows."""
    generator = np.random.default_rng(seed)
    hard = generator.standard_normal((1, 24, 1))
    spread = {"seed": run_sd, "residual": 0.2}
    reference, recipe = (additive(generator, (S, 24, 1), **spread) for _ in range(2))
    return 8 + hard, 4 + 0.5 * hard + reference, 8 - 4 * share + 0.7 * hard + recipe


def test_by_hand() -> None:
    """8 to 6 is half of 8 to 4; without any variance there is no interval."""
    got = gain_share(np.full((1, 3, 1), 8), np.full((2, 3, 1), 4), np.full((2, 3, 1), 6))
    assert (got.estimate, got.low, got.high, got.n) == (0.5, 0.5, 0.5, 3)
    assert got.method.startswith(NO_INTERVAL)


@pytest.mark.parametrize("S", [3, 5])
def test_coverage_with_few_seeds(S: int) -> None:
    """At least 93 % of 100 studies hold the truth."""
    held = 0
    for seed in range(100):
        got = gain_share(*losses(seed, S, 0.3))
        held += got.low <= 0.3 <= got.high
    assert held / 100 >= 0.93


def test_the_interval_holds_the_estimate_and_narrows() -> None:
    """Low < share < high, and more seeds say more."""
    few, many = (gain_share(*losses(0, S, 0.5)) for S in (2, 20))
    for got in (few, many):
        assert got.low < got.estimate < got.high
        assert got.method == "Fieller with the crossed t"
    assert many.high - many.low < few.high - few.low
    assert gain_share(*losses(0, 3, 0.5)) == gain_share(*losses(0, 3, 0.5))


def test_ends_are_where_the_level_says() -> None:
    """A higher level is wider."""
    narrow, wide = (gain_share(*losses(1, 3, 0.5), level) for level in (0.9, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_gain_that_is_not_shown_has_no_shares() -> None:
    """A reference that may have gained nothing leaves the share without an end."""
    start, reference, recipe = losses(2, 3, 0.5, run_sd=0.0)
    noisy = reference + np.array([-6.0, 3.0, 6.0])[:, None, None]
    got = gain_share(start, noisy, recipe)
    assert got.method == f"{NO_INTERVAL}: the reference's own gain is not shown"
    assert got.low == got.estimate == got.high


def test_one_run_speaks_for_itself() -> None:
    """One given adapter is what it is, one training is one training."""
    start, reference, recipe = losses(3, 3, 0.5)
    assert "this one run only" in gain_share(start, reference, recipe[:1]).method
    assert "one run" not in gain_share(start, reference, recipe[:1], fixed=True).method


def test_there_is_no_share_of_nothing() -> None:
    """0/0 is not 0."""
    start, reference, _ = losses(4, 2, 0.5)
    with pytest.raises(DataError, match="has not made"):
        gain_share(start, start, reference)
