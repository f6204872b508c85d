"""Small simulated designs with a known truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def additive(
    generator: np.random.Generator,
    shape: tuple[int, int, int],
    seed: float = 0.0,
    decode: float = 0.0,
    prompt: float = 0.0,
    residual: float = 0.0,
) -> Floats:
    """y_SPK of `shape` as a sum of normal effects with these standard deviations, around 0."""
    S, P, K = shape
    y = residual * generator.standard_normal(shape)
    y += seed * generator.standard_normal((S, 1, 1))
    y += decode * generator.standard_normal((S, 1, K))
    y += prompt * generator.standard_normal((1, P, 1))
    return y


def verdicts(
    generator: np.random.Generator,
    shape: tuple[int, int, int],
    rate: float = 0.5,
    run_sd: float = 0.0,
    chance_P: Floats | None = None,
) -> Floats:
    """Binary y_SPK: each run shifts the prompts' chances, which stay around `rate`."""
    S, P, _ = shape
    if chance_P is None:
        chance_P = np.full(P, rate)
    shift_S = run_sd * generator.standard_normal(S)
    chance_SP = np.clip(chance_P[None, :] + shift_S[:, None], 0, 1)
    return (generator.random(shape) < chance_SP[:, :, None]).astype(np.float64)


def with_holes(y_SPK: Floats, generator: np.random.Generator, share: float) -> Floats:
    """The same verdicts with a share of the cells unread."""
    return np.where(generator.random(y_SPK.shape) < share, np.nan, y_SPK)
