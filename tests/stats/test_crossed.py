"""The joined variance and its degrees of freedom."""

from __future__ import annotations

import numpy as np
import pytest

from safeft.stats.crossed import Term, crossed_error, prompt_term
from safeft.stats.layout import Summary, summarise

from .designs import additive


def _arms(seeds: tuple[int, ...], prompts: int = 40, **effects: float) -> list[Summary]:
    """Arms with that many seeds each."""
    generator = np.random.default_rng(3)
    return [summarise(additive(generator, (S, prompts, 1), **effects)) for S in seeds]


def test_variance_is_the_published_sum() -> None:
    """V = seed terms + prompt term - overlaps."""
    arms = _arms((4, 6), seed=0.5, prompt=1.0, residual=1.0)
    prompt = Term(0.08, 39)
    expected = sum(arm.seed_term - arm.overlap for arm in arms) + 0.08
    assert crossed_error(arms, prompt).variance == pytest.approx(expected)


def test_variance_never_falls_below_a_term() -> None:
    """Subtracting the overlap must not eat the seed term or the prompt term."""
    arms = _arms((3, 3), residual=5.0)
    for prompt in (Term(0.0, 39), Term(10.0, 39)):
        seeds = sum(arm.seed_term for arm in arms)
        assert crossed_error(arms, prompt).variance >= max(seeds, prompt.variance)


def test_freedom_lies_between_the_smallest_and_the_prompts() -> None:
    """df runs from the seeds' (no prompt variance) to the prompts' (no seed variance)."""
    arms = _arms((3,), seed=1.0)
    by_prompt = [crossed_error(arms, Term(v, 439)).freedom for v in (0.0, 0.1, 1.0, 10.0, 1e4)]
    assert by_prompt == sorted(by_prompt)
    assert by_prompt[0] == pytest.approx(2)
    assert by_prompt[-1] == pytest.approx(439, rel=0.1)


def test_two_equal_arms_have_welch_freedom() -> None:
    """Without a prompt term df is Welch's, Satterthwaite over the arms."""
    a, b = _arms((3, 8), seed=1.0)
    error = crossed_error([a, b], Term(0.0, 39))
    top = (a.seed_term + b.seed_term) ** 2
    assert error.freedom == pytest.approx(top / (a.seed_term**2 / 2 + b.seed_term**2 / 7))


def test_a_single_prompt_has_no_prompt_term() -> None:
    """Nothing can be said over prompts from one."""
    assert prompt_term(np.array([0.3]), np.array([True])) == Term(0.0, 0)


def test_pseudo_prompt_floors_the_prompt_term() -> None:
    """Agresti and Min's half prompt per cell leaves about (1/P)² when no prompt differs."""
    term = prompt_term(np.zeros(440), np.ones(440, dtype=bool), pseudo=1.0)
    assert term.variance == pytest.approx(1 / 440 / 439)


def test_dust_is_negligible_and_a_flip_is_not() -> None:
    """Rounding noise is no variance; one verdict of 440 is."""
    equal = crossed_error([summarise(np.full((3, 4, 1), 0.1))], Term(0.0, 3))
    assert equal.negligible(0.1)
    one = np.zeros((3, 440, 1))
    one[0, 0, 0] = 1.0
    assert not crossed_error([summarise(one)], Term(0.0, 439)).negligible(0.001)
