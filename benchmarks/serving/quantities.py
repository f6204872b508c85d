"""Quantiles of latencies over rounds, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rounds = Sequence[Floats]
"""One array of seconds a round."""
DRAWS = 2000


def quantile(rounds: Rounds, q: float) -> float:
    """Of all rounds together: the smallest value that a share q does not exceed."""
    return float(_quantiles(rounds, np.ones((1, len(rounds))), q)[0])


def added(server: Rounds, other: Rounds, q: float, seed: int = 0) -> tuple[float, float, float]:
    """A quantile of one server's latencies less that of another's, and its 95 % interval.

    The interval is a bootstrap over rounds, the same rounds of both: what else the machine does
    lasts for whole rounds, so that single requests would seem surer than they are. A round in
    which one of them has no latency is left out.
    """
    kept = [pair for pair in zip(server, other, strict=True) if all(map(len, pair))]
    if not kept:
        return float("nan"), float("nan"), float("nan")
    shares = np.full(len(kept), 1 / len(kept))
    weights_DR = np.random.default_rng(seed).multinomial(len(kept), shares, DRAWS).astype(float)
    weights_DR[0] = 1  # the rounds as they were
    ours, theirs = zip(*kept, strict=True)
    values_D = _quantiles(ours, weights_DR, q) - _quantiles(theirs, weights_DR, q)
    low, high = np.quantile(values_D[1:], (0.025, 0.975))
    return float(values_D[0]), float(low), float(high)


def _quantiles(rounds: Rounds, weights_DR: Floats, q: float) -> Floats:
    """The quantile of each draw, in which a round counts as often as it was drawn."""
    values_N = np.concatenate(rounds)
    order_N = np.argsort(values_N)
    round_N = np.repeat(np.arange(len(rounds)), [len(one) for one in rounds])
    sums_DN = np.cumsum(weights_DR[:, round_N[order_N]], axis=1)
    place_D = np.argmax(sums_DN >= q * sums_DN[:, -1:], axis=1)
    found: Floats = values_N[order_N][place_D]
    return found


def rounded(interval: Sequence[float], scale: float = 1000.0, digits: int = 2) -> list[float]:
    """In milliseconds, if not said otherwise."""
    return [round(scale * one, digits) for one in interval]
