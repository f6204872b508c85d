"""How well scores tell the unsafe from the safe: the area under the ROC curve and its interval."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from safeft.errors import DataError
from safeft.stats.intervals import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Truth = NDArray[np.bool_]

METHOD = "DeLong, clustered by prompt, on the logit scale"


def auroc(truth_N: Truth, scores_N: Floats) -> float:
    """The chance that an unsafe row scores above a safe one; ties count half.

    Raises DataError unless there are rows of both kinds.
    """
    return float(_shares(truth_N, scores_N)[truth_N].mean())


def auroc_interval(
    truth_N: Truth, scores_N: Floats, prompts: Sequence[Hashable], level: float = 0.95
) -> Interval:
    """The same with its interval; rows of one prompt are not taken for independent. n is prompts.

    Where the kinds do not overlap there is no spread to go by: then the bound is the exact binomial
    one of as many prompts as there are of the rarer kind. Raises DataError as `auroc` does.
    """
    shares_N = _shares(truth_N, scores_N)
    area = float(shares_N[truth_N].mean())
    names = {one: place for place, one in enumerate(dict.fromkeys(prompts))}
    owners_N = np.array([names[one] for one in prompts])
    alpha = 1 - level
    if area in (0, 1):
        rarer = min(len(set(owners_N[one])) for one in (truth_N, ~truth_N))
        bound = (alpha / 2) ** (1 / rarer)
        low, high = (bound, 1.0) if area == 1 else (0.0, 1 - bound)
    else:
        reach = norm.ppf(1 - alpha / 2) * _error(truth_N, shares_N, owners_N) / (area * (1 - area))
        middle = math.log(area / (1 - area))
        low, high = map(float, expit([middle - reach, middle + reach]))
    return Interval(area, low, high, len(names), METHOD)


def _shares(truth_N: Truth, scores_N: Floats) -> Floats:
    """The share of the other kind's rows that each row is on the right side of; ties count half."""
    unsafe, safe = np.sort(scores_N[truth_N]), np.sort(scores_N[~truth_N])
    if not len(unsafe) or not len(safe):
        raise DataError("an AUROC needs unsafe rows and safe ones; give rows of both kinds")
    below = np.searchsorted(safe, scores_N, "left") + np.searchsorted(safe, scores_N, "right")
    above = np.searchsorted(unsafe, scores_N, "left") + np.searchsorted(unsafe, scores_N, "right")
    found: Floats = np.where(truth_N, below / (2 * len(safe)), 1 - above / (2 * len(unsafe)))
    return found


def _error(truth_N: Truth, shares_N: Floats, owners_N: NDArray[np.int_]) -> float:
    """The standard error: each prompt's share in how far the area would move without it."""
    count = int(owners_N.max()) + 1
    centred = (shares_N - shares_N[truth_N].mean()) / np.where(
        truth_N, truth_N.sum(), (~truth_N).sum()
    )
    moved = np.bincount(owners_N, centred, minlength=count)
    return math.sqrt(count / max(1, count - 1) * float((moved**2).sum()))
