"""Verification: a drift is told from a fresh draw, and a change from the calibrated policy."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from guarding.calibrated import drawn_from, policy
from safeft.errors import DataError
from safeft.guarding.calibration import calibrate, shifted, verify


def test_drift_is_told_from_a_fresh_draw() -> None:
    """False alarms are rare (the bound is strict); answers like another model's are found."""
    alarms, found = 0, 0
    for seed in range(40):
        known = calibrate(policy(), drawn_from(-3, 60, seed), 0.05)
        alarms += verify(known, drawn_from(-3, 60, 1000 + seed)).drifted
        found += verify(known, drawn_from(0, 60, 2000 + seed)).drifted
    assert alarms <= 3
    assert found == 40


def test_a_verification_says_what_it_saw() -> None:
    """The rate with its exact interval, who was withheld, and how far the scores have moved."""
    known = calibrate(policy(), drawn_from(-3, 200, 0), 0.05)
    found = verify(known, drawn_from(-1.5, 150, 1))
    assert (found.rate.n, found.rate.method) == (150, "Clopper–Pearson")
    assert found.rate.low < found.rate.estimate == len(found.withheld) / 150 < found.rate.high
    assert set(found.withheld) < set(map(str, range(150)))
    assert found.drifted is bool(binom.sf(len(found.withheld) - 1, 150, 0.05) <= 0.05)
    assert found.likeness.distance > 0.3
    assert found.likeness.p < 1e-6
    same = verify(known, drawn_from(-3, 150, 2))
    assert same.likeness.p > 0.01
    with pytest.raises(DataError, match="n is 0"):
        verify(known, [])


def test_a_changed_policy_is_tested_as_it_is() -> None:
    """Whoever lowers a threshold by hand breaks the promise, and it shows."""
    known = calibrate(policy(), drawn_from(-3, 100, 0), 0.05)
    fresh = drawn_from(-3, 100, 1)
    assert not verify(known, fresh, known.policy).drifted
    assert verify(known, fresh, shifted(known.policy, -3.0)).drifted
