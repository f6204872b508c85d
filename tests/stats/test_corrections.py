"""Laws of the correction for judge errors: it removes the bias, and its interval holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from safeft.errors import DataError
from safeft.records import Estimate
from safeft.stats import (
    Labelled,
    arm,
    contrast,
    corrected_contrast,
    prediction_powered,
    rogan_gladen,
)
from safeft.stats.corrections import rogan_gladen_contrast

Floats = npt.NDArray[np.float64]
TRUTH, PROMPTS, LABELS = 0.30, 200, 200
# Run SD, training seeds, and the judge's accuracies: an unsteady recipe under a weak judge is hard.
HARD = [(0.04, 5, 0.90, 0.80), (0.10, 5, 0.90, 0.60), (0.10, 3, 0.95, 0.50)]


def study(
    draw: np.random.Generator, run_sd: float, seeds: int, sensitivity: float, specificity: float
) -> tuple[Floats, Floats]:
    """What people would say of each answer, and what the judge says."""
    shape = (seeds, PROMPTS, 1)
    shift = run_sd * draw.standard_normal((seeds, 1, 1))
    human = (draw.random(shape) < np.clip(TRUTH + shift, 0, 1)).astype(float)
    chance = np.where(human == 1, sensitivity, 1 - specificity)
    return human, (draw.random(shape) < chance).astype(float)


def sample(draw: np.random.Generator, human: Floats, judged: Floats) -> Labelled:
    """A random sample of the answers, labelled."""
    chosen = draw.choice(human.size, LABELS, replace=False)
    return Labelled.of(judged.ravel()[chosen], human.ravel()[chosen])


def test_a_judge_that_never_errs_changes_nothing_but_the_width() -> None:
    """The rectifier is 0; the labels that say so are not free."""
    human, _ = study(np.random.default_rng(0), 0.04, 5, 1, 1)
    labelled = sample(np.random.default_rng(1), human, human)
    plain, found = arm(human), prediction_powered(human, labelled)
    assert found.estimate == pytest.approx(plain.estimate)
    assert found.high - found.low > 0.9 * (plain.high - plain.low)
    assert (found.n, found.n_seeds) == (PROMPTS, 5) and "200 labels" in found.method


@pytest.mark.parametrize("hard", HARD)
@pytest.mark.parametrize("method", [prediction_powered, rogan_gladen])
def test_the_interval_of_a_corrected_rate_holds(
    method: Callable[..., Estimate], hard: tuple[Any, ...]
) -> None:
    """400 studies each: 93 % or more, also where runs differ much and the judge is weak."""
    draw, held = np.random.default_rng(2), 0
    for _ in range(400):
        human, judged = study(draw, *hard)
        found = method(judged, sample(draw, human, judged))
        held += found.low <= TRUTH <= found.high
    assert held >= 0.93 * 400


def test_differential_error_is_corrected_recipe_by_recipe() -> None:
    """One judge, specificity 0.80 on one recipe and 0.95 on the other, no true difference."""
    draw, naive, powered, unfolded = np.random.default_rng(3), 0, 0, 0
    for _ in range(300):
        human_a, judged_a = study(draw, 0.04, 5, 0.90, 0.80)
        human_b, judged_b = study(draw, 0.04, 5, 0.90, 0.95)
        labelled = sample(draw, human_a, judged_a), sample(draw, human_b, judged_b)
        plain = contrast(judged_a, judged_b)
        found = corrected_contrast(plain, *labelled)
        simple = rogan_gladen_contrast(judged_a, judged_b, *labelled)
        naive += plain.low <= 0 <= plain.high
        powered += found.low <= 0 <= found.high
        unfolded += simple.low <= 0 <= simple.high
    assert naive < 0.7 * 300 and min(powered, unfolded) >= 0.93 * 300


@pytest.mark.parametrize("sensitivity", [0.9, 0.6])
def test_rogan_gladens_difference_is_that_of_its_rates(sensitivity: float) -> None:
    """And its interval holds a true difference of 20 points under two weak judges."""
    draw, held = np.random.default_rng(4), 0
    for _ in range(300):
        human_a, judged_a = study(draw, 0.04, 5, sensitivity, 0.80)
        human_b = (draw.random((5, PROMPTS, 1)) < TRUTH - 0.2).astype(float)
        judged_b = np.where(draw.random(human_b.shape) < 0.9, human_b, 1 - human_b)
        a, b = sample(draw, human_a, judged_a), sample(draw, human_b, judged_b)
        found = rogan_gladen_contrast(judged_a, judged_b, a, b)
        rates = [rogan_gladen(judged_a, a).estimate, rogan_gladen(judged_b, b).estimate]
        if all(0 < rate < 1 for rate in rates):
            assert found.difference == pytest.approx(rates[0] - rates[1])
        held += found.low <= 0.2 <= found.high
    assert held >= 0.93 * 300 and "Rogan–Gladen" in found.method


def test_arms_that_never_vary_still_differ_within_an_interval() -> None:
    """No answer of either is fulfilled: what the labels leave in doubt stays."""
    labelled = Labelled.of([1.0] * 15 + [0.0] * 25, [1.0] * 12 + [0.0] * 28)
    nothing = np.zeros((3, 40, 1))
    found = rogan_gladen_contrast(nothing, nothing, labelled, labelled)
    assert found.low < 0 < found.high and not found.method.startswith("no interval")


def test_a_corrected_rate_stays_a_rate() -> None:
    """A judge that often sees harm where there is none."""
    labelled = Labelled.of([1.0] * 19 + [0.0] * 19, [1.0] * 2 + [0.0] * 36)
    found = prediction_powered(np.full((2, 30, 1), 0.2), labelled)
    assert 0 == found.low == found.estimate <= found.high < 1


@pytest.mark.parametrize(
    ("judged", "human", "words"),
    [
        ([1.0] * 19, [1.0] * 19, "19 labels are too few"),
        ([1.0] * 20, [1.0] * 21, "the verdict of the same answer"),
        ([0.5] * 20, [1.0] * 20, "must be 0 or 1"),
    ],
)
def test_labels_that_cannot_correct_are_refused(
    judged: list[float], human: list[float], words: str
) -> None:
    """Too few, unpaired, or not a label."""
    with pytest.raises(DataError, match=words):
        Labelled.of(judged, human)


def test_a_useless_judge_is_not_corrected() -> None:
    """Both divide by Youden's J, and neither knows it from one class."""
    values = np.full((2, 30, 1), 0.5)
    chance = Labelled.of([1.0, 0.0] * 20, [1.0, 1.0, 0.0, 0.0] * 10)
    for method in (rogan_gladen, prediction_powered):
        with pytest.raises(DataError, match="no better than chance"):
            method(values, chance)
    with pytest.raises(DataError, match="one class only"):
        rogan_gladen(values, Labelled.of([1.0] * 20, [1.0] * 20))
