"""Laws of planning: more of anything detects less, and a planned study has the power it plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from safeft.errors import DataError
from safeft.stats import contrast
from safeft.stats.design import Design, Factor, Spread, detectable, needed, spread_of
from stats.designs import additive

SPREAD = Spread(training=0.043, prompt=0.25, residual=0.35, decoding=0.01)


@pytest.mark.parametrize(
    "more", [Design(10, 440), Design(5, 880), Design(5, 440, 3)], ids=["seeds", "prompts", "draws"]
)
def test_more_detects_less(more: Design) -> None:
    """Of seeds, prompts and decodings."""
    assert detectable(SPREAD, more) < detectable(SPREAD, Design(5, 440))


def test_more_recipes_and_more_power_need_more() -> None:
    """Simultaneous intervals are wider, and certainty costs."""
    plain = detectable(SPREAD, Design(5, 440))
    assert detectable(SPREAD, Design(5, 440), recipes=8) > plain
    assert detectable(SPREAD, Design(5, 440), power=0.95) > plain


def test_many_seeds_reach_the_textbooks_formula() -> None:
    """Run SD 4.25 points, ten seeds: noncentral t gives 5.6 points; with three its 13.1 flatter."""
    spread = Spread(training=0.0425, prompt=0.0, residual=0.1)
    few, many = (100 * detectable(spread, Design(seeds, 440)) for seeds in (3, 10))
    assert many == pytest.approx(5.6, rel=0.05)
    assert 13.1 <= few <= 17


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_a_planned_study_has_its_power(seeds: int) -> None:
    """1,000 studies with just the detectable difference: 80 % of them find it, within four."""
    design, draw = Design(seeds, 120), np.random.default_rng(seeds)
    spread = Spread(training=0.05, prompt=0.2, residual=0.3)
    truth, shape, found = detectable(spread, design), (seeds, 120, 1), 0
    for _ in range(1000):
        shared = additive(draw, shape, seed=0.05, residual=0.3)
        shift_P = 0.2 * draw.standard_normal((1, 120, 1))
        other = additive(draw, shape, seed=0.05, residual=0.3) + truth + shift_P
        found += contrast(other, shared, bounded=False).p < 0.05
    assert 760 <= found <= 840


def test_what_every_decoding_repeats_is_not_averaged_out() -> None:
    """1,000 studies again, where a training run has a leaning of its own on each prompt."""
    design, draw = Design(5, 120, 4), np.random.default_rng(11)
    spread = Spread(training=0.05, prompt=0.1, residual=0.3, interaction=0.4)
    truth, shape, found = detectable(spread, design), (5, 120, 4), 0
    for _ in range(1000):
        one, other = (additive(draw, shape, seed=0.05, residual=0.3) for _ in range(2))
        leaning_ASP = 0.4 * draw.standard_normal((2, 5, 120, 1))
        shift_P = 0.1 * draw.standard_normal((1, 120, 1))
        shifted = other + leaning_ASP[1] + truth + shift_P
        found += contrast(shifted, one + leaning_ASP[0], bounded=False).p < 0.05
    assert 760 <= found <= 840


# A spread in which each factor is what is short, and the differences that it then decides.
SHORT: dict[Factor, tuple[Spread, Design]] = {
    "seeds": (SPREAD, Design(2, 440)),
    "prompts": (Spread(training=0.01, prompt=0.25, residual=0.35), Design(5, 2)),
    "decodes": (Spread(training=0.01, prompt=0.01, residual=0.45, decoding=0.03), Design(5, 200)),
}


@pytest.mark.parametrize("factor", SHORT)
def test_the_number_needed_suffices_and_one_less_does_not(factor: Factor) -> None:
    """Of training seeds, of prompts, of decodings, the others being as they are."""
    spread, design = SHORT[factor]
    fewest = needed(spread, 0.06, design, factor)
    assert fewest is not None and fewest > getattr(design, factor)
    assert detectable(spread, replace(design, **{factor: fewest})) <= 0.06
    assert detectable(spread, replace(design, **{factor: fewest - 1})) > 0.06


@pytest.mark.parametrize("factor", SHORT)
def test_a_larger_difference_never_needs_more(factor: Factor) -> None:
    """And a much larger one needs next to nothing."""
    spread, design = SHORT[factor]
    found = [needed(spread, points / 100, design, factor) for points in (5, 6, 8, 12, 90)]
    numbers = [one for one in found if one is not None]
    assert len(numbers) == len(found) and sorted(numbers, reverse=True) == numbers
    assert numbers[0] > numbers[1] and numbers[-1] <= 3


@pytest.mark.parametrize("factor", SHORT)
def test_what_the_other_factors_leave_in_doubt_stays(factor: Factor) -> None:
    """No number of seeds makes up for few prompts, of prompts or decodings for few seeds."""
    assert needed(SPREAD, 0.01, Design(3, 20), factor) is None


def test_a_pilot_finds_the_spread() -> None:
    """By moments, on a large pilot."""
    draw, shape = np.random.default_rng(7), (30, 300, 3)
    parts = {"seed": 0.05, "decode": 0.02, "residual": 0.3}
    difference_P = 0.2 * draw.standard_normal((1, 300, 1))
    one, other = additive(draw, shape, **parts), additive(draw, shape, **parts) + difference_P
    found = spread_of(one, other)
    assert found.training == pytest.approx(0.05, rel=0.3)
    assert found.decoding == pytest.approx(0.02, rel=0.4)
    assert found.prompt == pytest.approx(0.2, rel=0.15)
    assert found.residual == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(("decodes", "repeats", "drawn"), [(4, 0.4, 0.3), (1, 0.5, 0.0)])
def test_a_pilot_tells_a_draw_from_what_the_next_would_repeat(
    decodes: int, repeats: float, drawn: float
) -> None:
    """With one decoding it cannot, and more decodings then promise nothing."""
    draw, shape = np.random.default_rng(8), (30, 300, decodes)
    one, other = (
        additive(draw, shape, residual=0.3) + 0.4 * draw.standard_normal((30, 300, 1))
        for _ in range(2)
    )
    found = spread_of(one, other)
    assert found.interaction == pytest.approx(repeats, rel=0.03)
    assert found.residual == pytest.approx(drawn, rel=0.03)
    more, once = (detectable(found, Design(5, 300, count)) for count in (8, 1))
    assert (more < once) == (decodes > 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Spread(-0.1, 0.1, 0.1),
        lambda: Spread(0, 0, 0),
        lambda: Design(1, 440),
        lambda: Design(3, 1),
        lambda: Spread(0.1, 0.1, 0.1, interaction=-0.1),
        lambda: needed(SPREAD, 1.5, Design(2, 440), "seeds"),
        lambda: spread_of(np.zeros((1, 5, 1)), np.zeros((1, 5, 1))),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(make: Callable[[], object]) -> None:
    """Negative spreads, single runs, differences that are no rates."""
    with pytest.raises(DataError):
        make()
