"""Quantiles and tails, typed; the one place that touches scipy.

`scipy.special` rather than `scipy.stats`: it imports ten times faster, and `safeft --help` counts.
"""

from __future__ import annotations

from scipy import special


def upper_point(level: float) -> float:
    """The probability below the upper end of a two-sided interval. Raises ValueError."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}; write 0.95 for 95 %")
    return (1 + level) / 2


def normal_quantile(probability: float) -> float:
    """z with P(Z ≤ z) = probability."""
    return float(special.ndtri(probability))


def t_quantile(probability: float, freedom: float) -> float:
    """t with P(T ≤ t) = probability; `freedom` need not be whole."""
    return float(special.stdtrit(freedom, probability))


def t_freedom(probability: float, quantile: float) -> float:
    """The degrees of freedom at which `quantile` is t's quantile at `probability`."""
    return float(special.stdtridf(probability, quantile))


def t_two_sided(statistic: float, freedom: float) -> float:
    """P(|T| ≥ |statistic|)."""
    return float(2 * special.stdtr(freedom, -abs(statistic)))


def noncentral_shift(statistic: float, freedom: float, power: float) -> float:
    """The shift at which a noncentral t exceeds `statistic` with probability `power`."""
    return float(special.nctdtrinc(freedom, 1 - power, statistic))


def chi_square_ratio_quantile(probability: float, freedom: float) -> float:
    """Quantile of chi²/freedom, which is F with an infinite denominator."""
    return float(special.chdtri(freedom, 1 - probability)) / freedom


def f_quantile(probability: float, numerator: float, denominator: float) -> float:
    """Quantile of F(numerator, denominator)."""
    return float(special.fdtri(numerator, denominator, probability))


def t_upper(statistic: float, freedom: float) -> float:
    """P(T ≥ statistic)."""
    return float(special.stdtr(freedom, -statistic))


def binomial_two_sided_mid(fewer: int, n: int) -> float:
    """Twice P(X < fewer) + P(X = fewer) for X ~ Binomial(n, 1/2): the mid-p; 1 where n is 0."""
    if n == 0:
        return 1.0
    at_most = float(special.bdtr(fewer, n, 0.5))
    below = float(special.bdtr(fewer - 1, n, 0.5)) if fewer else 0.0
    return min(1.0, at_most + below)


def noncentrality(statistic: float, numerator: float, denominator: float, below: float) -> float:
    """The noncentrality at which F'(numerator, denominator) is at most `statistic` with P = below.

    0 where even the central F is so small less often. Found by bisection: scipy's own inverse
    fails for large values.
    """

    def chance(shift: float) -> float:
        return float(special.ncfdtr(numerator, denominator, shift, statistic))

    if chance(0.0) <= below:
        return 0.0
    low, high = 0.0, 1.0
    while chance(high) > below:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) > below else (low, middle)
    return high
