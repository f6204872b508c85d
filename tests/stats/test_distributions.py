"""The typed wrappers are scipy.stats under shorter names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from safeft.stats import distributions

probabilities = st.floats(0.01, 0.99)
freedoms = st.floats(1.0, 500.0)


@given(probabilities, freedoms)
def test_t_quantile_is_scipys(probability: float, freedom: float) -> None:
    """Also for degrees of freedom that are not whole."""
    expected = reference.t.ppf(probability, freedom)
    assert distributions.t_quantile(probability, freedom) == pytest.approx(expected, abs=1e-9)


@given(freedoms)
def test_t_freedom_inverts_t_quantile(freedom: float) -> None:
    """From the quantile back to the degrees of freedom."""
    quantile = distributions.t_quantile(0.975, freedom)
    assert distributions.t_freedom(0.975, quantile) == pytest.approx(freedom, rel=1e-6)


@given(st.floats(-30, 30), freedoms)
def test_p_is_two_sided_and_symmetric(statistic: float, freedom: float) -> None:
    """p(t) = p(-t) = 2 P(T ≥ |t|)."""
    p = distributions.t_two_sided(statistic, freedom)
    assert p == distributions.t_two_sided(-statistic, freedom)
    assert p == pytest.approx(2 * reference.t.sf(abs(statistic), freedom), abs=1e-12)


@given(probabilities, st.integers(1, 400), st.integers(1, 400))
def test_f_and_chi_square_are_scipys(probability: float, above: int, below: int) -> None:
    """chi²/df is F with an infinite denominator."""
    f = distributions.f_quantile(probability, above, below)
    assert f == pytest.approx(reference.f.ppf(probability, above, below), rel=1e-6)
    chi = distributions.chi_square_ratio_quantile(probability, above)
    assert chi == pytest.approx(reference.chi2.ppf(probability, above) / above, rel=1e-6)


@pytest.mark.parametrize("freedom", [2.0, 4.0, 18.0, 438.0])
def test_noncentral_shift_gives_the_power(freedom: float) -> None:
    """At the shift, the noncentral t exceeds the critical value with the power asked for."""
    critical = reference.t.ppf(0.975, freedom)
    shift = distributions.noncentral_shift(critical, freedom, 0.8)
    assert reference.nct.sf(critical, freedom, shift) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -0.5])
def test_a_level_is_a_probability(level: float) -> None:
    """95 instead of 0.95 is refused, and the message says what to write."""
    with pytest.raises(ValueError, match=r"write 0\.95"):
        distributions.upper_point(level)
