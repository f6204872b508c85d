"""Where to draw a line so that few benign scores reach it, and whether they still do.

The k-th smallest of n scores bounds a share of all scores from above, whatever their distribution
(Wilks 1941). Withheld is what reaches the next number above it. Were more than α of all scores
above the line, then k of n draws would have come from a share below 1 - α: the chance of that is
at most P(Binomial(n, 1 - α) ≥ k), also where scores tie (docs/calibration.md has the proof).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from safeft.errors import DataError
from safeft.stats.distributions import upper_point
from safeft.stats.intervals import Interval


def order_statistic(n: int, alpha: float, confidence: float = 0.95) -> int:
    """The smallest rank k, from 1, whose score is an upper tolerance bound of n benign ones.

    At most `alpha` of all scores lie above it, with `confidence` over the draw of the n.
    Raises ValueError for shares outside (0, 1), DataError with the n that is needed for a small n.
    """
    least = needed(alpha, confidence)
    if n < least:
        raise DataError(
            f"{n} benign answers are too few for a false-positive rate of {100 * alpha:g} % with "
            f"{100 * confidence:g} % confidence: it takes at least {least} different ones; add "
            "some, or ask for a higher rate"
        )
    ranks = range(1, n + 1)
    return ranks[
        bisect_left(ranks, True, key=lambda k: _reached(k, n, 1 - alpha) <= 1 - confidence)
    ]


def needed(alpha: float, confidence: float = 0.95) -> int:
    """How many scores an upper tolerance bound takes at least: 299 for 1 % and 95 %.

    Raises ValueError for shares outside (0, 1).
    """
    for name, value in (("alpha", alpha), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}; 0.01 is 1 %")
    # The quotient is right but for rounding, which may decide where it is whole.
    n = max(1, math.floor(math.log(1 - confidence) / math.log1p(-alpha)) - 1)
    while _reached(n, n, 1 - alpha) > 1 - confidence:
        n += 1
    return n


def above(scores: Sequence[float], alpha: float, confidence: float = 0.95) -> float:
    """The threshold: the next float above the order statistic, so that its ties are released.

    Withheld is a score that is at least the threshold. Raises as `order_statistic` does, DataError
    where more scores are infinite than may be withheld, and ValueError for NaN.
    """
    if any(map(math.isnan, scores)):
        raise ValueError("a score is NaN; count what could not be read as infinite")
    line = sorted(scores)[order_statistic(len(scores), alpha, confidence) - 1]
    if line == math.inf:
        raise DataError(
            f"{sum(one == math.inf for one in scores)} of {len(scores)} scores are infinite, and "
            "no threshold lies above them; find out why they are"
        )
    return math.nextafter(line, math.inf)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """A share of n independent trials with its exact interval (Clopper & Pearson 1934).

    Raises DataError when n is 0 and ValueError when successes lie outside 0…n.
    """
    if n == 0:
        raise DataError("a rate of no trials is undefined: n is 0")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, got {successes} of {n}")
    point, misses = upper_point(level), n - successes
    low = float(special.betaincinv(successes, misses + 1, 1 - point)) if successes else 0.0
    high = float(special.betaincinv(successes + 1, misses, point)) if misses else 1.0
    return Interval(successes / n, low, high, n, "Clopper–Pearson")


def exceeds(successes: int, n: int, rate: float) -> float:
    """The exact one-sided p of the claim that the true rate is at most `rate`: small when not."""
    return _reached(successes, n, rate)


def _reached(k: int, n: int, rate: float) -> float:
    """P(Binomial(n, rate) ≥ k)."""
    return 1.0 if k <= 0 else float(special.betainc(k, n - k + 1, rate))


def quantiles(values: Sequence[float], most: int = 100) -> tuple[float, ...]:
    """`most` values at equal steps of rank, the largest last; all of them, sorted, of fewer.

    Their share below any point is the values' own, or up to 1 / `most` less.
    """
    ordered, kept = sorted(values), min(len(values), most)
    return tuple(ordered[-(-step * len(ordered) // kept) - 1] for step in range(1, kept + 1))


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two samples' distribution functions lie apart at most, and the p of that."""

    distance: float
    p: float


def kolmogorov_smirnov(known: Sequence[float], n: int, values: npt.ArrayLike) -> Distance:
    """The two-sample test of `values` against n others, of which `known` are the `quantiles`.

    What quantiles leave open counts for likeness, and so do ties: p errs on the large side.
    Asymptotic (Smirnov 1948). Raises DataError when either sample is empty.
    """
    first, second = np.sort(np.asarray(known, float)), np.sort(np.asarray(values, float))
    if not len(first) or not len(second):
        raise DataError("nothing to compare: a sample is empty")
    points = np.concatenate([first, second])
    shares = [np.searchsorted(one, points, side="right") / len(one) for one in (first, second)]
    open_share = 0.0 if len(first) == n else 1 / len(first)
    distance = max(0.0, float(np.abs(shares[0] - shares[1]).max()) - open_share)
    size = math.sqrt(n * len(second) / (n + len(second)))
    return Distance(distance, float(special.kolmogorov(size * distance)))
