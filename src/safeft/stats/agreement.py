"""Do runs agree on a prompt, and do two judges agree on an answer?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.distributions import normal_quantile, t_quantile, upper_point
from safeft.stats.intervals import Interval
from safeft.stats.layout import Bools, Floats, cube
from safeft.stats.rates import arm, proportion, wilson_bounds


def flip_rate(y_SPK: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Share of prompts whose verdict differs between these runs, with Wilson's interval.

    y_SPK: training seeds × prompts × decoding seeds. n counts the prompts read in two or more
    runs. The more runs, the more flips: compare shares only at equal numbers of runs.
    Raises DataError when no prompt was read twice.
    """
    values = cube(y_SPK)
    read = ~np.isnan(values)
    twice_P = _read_twice(read, "a flip rate")
    lowest_P = np.where(read, values, np.inf).min(axis=(0, 2))
    highest_P = np.where(read, values, -np.inf).max(axis=(0, 2))
    flips = int((twice_P & (lowest_P < highest_P)).sum())
    share = proportion(flips, int(twice_P.sum()), level)
    return Interval(share.estimate, share.low, share.high, share.n, f"Wilson, {_over(read)}")


def stability_index(y_SPK: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Mean over prompts of the share of these runs that gave the prompt's commonest verdict.

    The Safety Stability Index of Larsen 2025 (arXiv 2512.12066). y_SPK: training seeds × prompts ×
    decoding seeds, one number for each verdict. 1 means that all runs agree on every prompt. To the
    flip rate one dissenting run in five is as much as an even split; here it is 0.8 against 0.6.
    With two runs the index is 1 - flip rate / 2. n counts the prompts read in two or more runs. The
    interval is over prompts, for these runs: Wilson's with the effective sample size, as in `arm`.
    The more runs, the lower on average: compare only at equal numbers of runs.
    Raises DataError when no prompt was read twice.
    """
    values = cube(y_SPK)
    read = ~np.isnan(values)
    twice_P = _read_twice(read, "a stability index")
    verdicts = np.unique(values[read])
    commonest_P = np.max([(values == one).sum(axis=(0, 2)) for one in verdicts], axis=0)[twice_P]
    count_P = read.sum(axis=(0, 2))[twice_P]
    mean = arm((commonest_P / count_P)[None, :, None], level, fixed=True)
    least = float((1 / count_P).mean())  # every run its own verdict
    method = f"Wilson over prompts, effective size, {_over(read)}"
    return Interval(mean.estimate, max(least, mean.low), mean.high, mean.n, method)


def _read_twice(read_SPK: Bools, what: str) -> Bools:
    """The prompts that were read in two or more runs. Raises DataError when there is none."""
    twice_P = np.asarray(read_SPK.sum(axis=(0, 2)) > 1)
    if not twice_P.any():
        raise DataError(f"{what} needs a prompt that was read in two or more runs")
    return twice_P


def _over(read_SPK: Bools) -> str:
    """Which runs there were: training seed × decoding seed."""
    return f"over {int(read_SPK.any(axis=1).sum())} runs"


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
    variance = _kappa_variance(share, agreed, chance)
    quantile = normal_quantile(upper_point(level))
    if variance < 1e-12:  # one disagreement in n gives about 1/n; rounding some 1e-16
        ends = wilson_bounds(agreed, n, quantile)
        low, high = ((end - chance) / (1 - chance) for end in ends)
        return Interval(estimate, low, high, n, "Wilson bounds on the agreement")
    half = quantile * math.sqrt(variance / n)
    low, high = estimate - half, estimate + half
    return Interval(estimate, max(-1.0, low), min(1.0, high), n, "asymptotic")


def kappa_by_prompt(read: Sequence[tuple[str, str, str]], level: float = 0.95) -> Interval:
    """κ of (one label, the other label, prompt), with prompts as the unit; n counts prompts.

    Answers to one prompt, over seeds and decodings, are no independent trials: the interval is a
    jackknife that leaves out one prompt at a time. Raises DataError as `kappa` does, and for fewer
    than two prompts.
    """
    whole = kappa([a for a, _, _ in read], [b for _, b, _ in read], level).estimate
    names = sorted({name for pair in read for name in pair[:2]})
    place = {name: index for index, name in enumerate(names)}
    prompts = sorted({prompt for _, _, prompt in read})
    if len(prompts) < 2:
        raise DataError("κ over prompts needs two or more of them")
    row = {prompt: index for index, prompt in enumerate(prompts)}
    counts = np.zeros((len(prompts), len(names), len(names)))
    for a, b, prompt in read:
        counts[row[prompt], place[a], place[b]] += 1
    left = np.array([_kappa(rest) for rest in counts.sum(axis=0) - counts])
    left = np.where(np.isnan(left), whole, left)
    n = len(prompts)
    error = math.sqrt((n - 1) / n * float(((left - left.mean()) ** 2).sum()))
    half = t_quantile(upper_point(level), n - 1) * error
    return Interval(whole, max(-1.0, whole - half), min(1.0, whole + half), n, "jackknife, prompts")


def _kappa(table: Floats) -> float:
    """Cohen's κ of a table; NaN where it is 0/0."""
    share = table / table.sum()
    chance = float(share.sum(axis=1) @ share.sum(axis=0))
    return math.nan if math.isclose(chance, 1) else (float(np.trace(share)) - chance) / (1 - chance)


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
