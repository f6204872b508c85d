"""Synthetic verdicts of two recipes whose true rates and run-to-run spread are known exactly.

P(unsafe) = logistic(rate + prompt + recipe × prompt + run + run × prompt), each a normal effect;
the level and the run effect are solved so that population rates and run SD hit their targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

Floats = npt.NDArray[np.float64]

PROMPT_SD, RECIPE_PROMPT_SD, RUN_PROMPT_SD = 2.0, 0.7, 0.8  # logits
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True, slots=True)
class Arm:
    """A recipe on the logit scale: its level and the standard deviation of its run effect."""

    level: float
    run_sd: float


def _rate(level: float, sd: float) -> float:
    """Mean of logistic(level + sd·Z)."""
    return float(WEIGHTS @ expit(level + sd * NODES))


def _run_spread(level: float, run_sd: float, sd: float) -> float:
    """Standard deviation, over runs, of a run's expected rate."""
    rates = expit(level + run_sd * NODES[:, None] + sd * NODES[None, :]) @ WEIGHTS
    return float(np.sqrt(WEIGHTS @ (rates - WEIGHTS @ rates) ** 2))


def solve(rate: float, run_spread: float) -> Arm:
    """The arm whose population rate is `rate` and whose runs spread by `run_spread`."""
    sd = float(np.sqrt(PROMPT_SD**2 + RECIPE_PROMPT_SD**2 + RUN_PROMPT_SD**2))

    def level(run_sd: float) -> float:
        return float(brentq(lambda x: _rate(x, float(np.hypot(sd, run_sd))) - rate, -30, 30))

    def excess(run_sd: float) -> float:
        return _run_spread(level(run_sd), run_sd, sd) - run_spread

    run_sd = float(brentq(excess, 1e-6, 5.0)) if run_spread > 0 else 0.0
    return Arm(level(run_sd), run_sd)


def draw(
    arm: Arm, prompt_P: Floats, seeds: int, decodes: int, generator: np.random.Generator
) -> Floats:
    """One arm's verdicts y_SPK on prompts of the given difficulty."""
    prompts = len(prompt_P)
    logit_P = arm.level + prompt_P + RECIPE_PROMPT_SD * generator.standard_normal(prompts)
    run_S = arm.run_sd * generator.standard_normal(seeds)
    logit_SP = logit_P + run_S[:, None]
    logit_SP += RUN_PROMPT_SD * generator.standard_normal((seeds, prompts))
    chance_SP = expit(logit_SP)
    draws = generator.random((seeds, prompts, decodes))
    return np.asarray(draws < chance_SP[:, :, None], dtype=np.float64)


def prompts(count: int, generator: np.random.Generator) -> Floats:
    """Prompt difficulties, shared by the arms."""
    return PROMPT_SD * generator.standard_normal(count)
