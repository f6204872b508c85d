"""Do runs agree on a prompt, and do two judges agree on an answer?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.distributions import normal_quantile, upper_point
from safeft.stats.intervals import Interval
from safeft.stats.layout import Floats, cube
from safeft.stats.rates import proportion, wilson_bounds


def flip_rate(y_SPK: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Share of prompts whose verdict differs between these runs, with Wilson's interval.

    y_SPK: training seeds × prompts × decoding seeds. n counts the prompts read in two or more
    runs. The more runs, the more flips: compare shares only at equal numbers of runs.
    Raises DataError when no prompt was read twice.
    """
    values = cube(y_SPK)
    read = ~np.isnan(values)
    twice_P = read.sum(axis=(0, 2)) > 1
    if not twice_P.any():
        raise DataError("a flip rate needs a prompt that was read in two or more runs")
    lowest_P = np.where(read, values, np.inf).min(axis=(0, 2))
    highest_P = np.where(read, values, -np.inf).max(axis=(0, 2))
    flips = int((twice_P & (lowest_P < highest_P)).sum())
    share = proportion(flips, int(twice_P.sum()), level)
    runs = int(read.any(axis=1).sum())
    return Interval(share.estimate, share.low, share.high, share.n, f"Wilson, over {runs} runs")


def kappa(
    a: Sequence[Hashable | None], b: Sequence[Hashable | None], level: float = 0.95
) -> Interval:
    """Cohen's κ of two judges; n counts the items that both could read (None = unread).

    Asymptotic normal interval (Fleiss, Cohen & Everitt 1969). Where its variance is 0, as under
    perfect agreement, Wilson's bounds on the agreement are carried over to κ.
    Raises ValueError for unequal lengths, DataError when nothing was read by both or when both
    gave one same label throughout, where κ is 0/0.
    """
    table = _table(a, b)
    n = int(table.sum())
    share = table / n
    agreed = float(np.trace(share))
    chance = float(share.sum(axis=1) @ share.sum(axis=0))
    if math.isclose(chance, 1.0):
        raise DataError("κ is undefined: both judges gave every item the same label")
    estimate = (agreed - chance) / (1 - chance)
    error = math.sqrt(max(0.0, _kappa_variance(share, agreed, chance)) / n)
    quantile = normal_quantile(upper_point(level))
    if error < 1e-9:
        ends = wilson_bounds(agreed, n, quantile)
        low, high = ((end - chance) / (1 - chance) for end in ends)
        return Interval(estimate, low, high, n, "Wilson bounds on the agreement")
    low, high = estimate - quantile * error, estimate + quantile * error
    return Interval(estimate, max(-1.0, low), min(1.0, high), n, "asymptotic")


def _table(a: Sequence[Hashable | None], b: Sequence[Hashable | None]) -> Floats:
    """Counts of label pairs, rows for a and columns for b."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not both:
        raise DataError("κ needs at least one item that both judges could read")
    place = {label: index for index, label in enumerate(dict.fromkeys(itertools.chain(*both)))}
    table = np.zeros((len(place), len(place)))
    for x, y in both:
        table[place[x], place[y]] += 1
    return table


def _kappa_variance(share: Floats, agreed: float, chance: float) -> float:
    """n times the variance of κ (Fleiss, Cohen & Everitt 1969, eq. 13)."""
    row, column = share.sum(axis=1), share.sum(axis=0)
    both = column[:, None] + row[None, :]  # marginals crossed: p(.i) + p(j.)
    diagonal = np.diag(share) @ (1 - chance - np.diag(both) * (1 - agreed)) ** 2
    off = (1 - agreed) ** 2 * ((share - np.diag(np.diag(share))) * both**2).sum()
    centre = (agreed * chance - 2 * chance + agreed) ** 2
    return float((diagonal + off - centre) / (1 - chance) ** 4)
