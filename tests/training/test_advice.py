"""What is recommended needs no more than somebody has."""

from __future__ import annotations

import re
from itertools import product

import pytest

from safeft.training import load_recipe
from safeft.training.advice import (
    ACCESSES,
    COMPUTES,
    OPTIONS,
    Evidence,
    Situation,
    evidence,
    recommended,
)

EVERY = [Situation(*one) for one in product(ACCESSES, *[(False, True)] * 3, COMPUTES)]


@pytest.mark.parametrize("have", EVERY, ids=str)
def test_two_are_named_that_can_be_had(have: Situation) -> None:
    """Whatever somebody has; training again is named only where nothing mends what is there."""
    two = recommended(have)
    assert len({one.recipe for one in two}) == 2
    for one in two:
        assert have.pair or not one.pair
        assert have.safety_data or not one.safety_data
        assert have.access == "weights" or one.api
        assert COMPUTES.index(one.compute) <= COMPUTES.index(have.compute)
    mending = [one for one in OPTIONS if one.fits(have)]
    assert list(two[: len(mending)]) == mending[:2]


def test_more_is_never_worse() -> None:
    """Who has more is named something at least as early in the table."""

    def first(have: Situation) -> int:
        return OPTIONS.index(recommended(have)[0])

    for have in EVERY:
        richer = Situation(have.access, have.trained, True, True, COMPUTES[-1])
        assert first(richer) <= first(have)


def test_every_option_is_named_once_and_has_evidence() -> None:
    """The evidence's table knows these and no others."""
    names = [one.recipe for one in OPTIONS]
    assert len(set(names)) == len(names)
    assert set(evidence()) == set(names)


def test_our_figures_have_interval_and_n() -> None:
    """And say where they are committed; what papers claim is repeated in words."""
    measured = {name: one.measured for name, one in evidence().items() if one.measured}
    assert measured
    for said in measured.values():
        figures = re.findall(r"[-+]?\d+\.\d+(?: pp|%)", re.sub(r"\[[^\]]*\]", "", said))
        assert len(figures) == len(re.findall(r"\[[-\d., ]+\]", said))
        assert "n=" in said
        assert "benchmarks/" in said
    assert not any(re.search(r"\d+ ?%|\d+\.\d+", one.claimed.partition("(arXiv")[0])
                   for one in evidence().values())  # fmt: skip


def test_what_was_not_measured_says_so() -> None:
    """No figure is invented."""
    assert str(Evidence(claimed="it works", source="arXiv 1")) == (
        "not measured by us. Claimed (arXiv 1): it works"
    )
    assert str(Evidence(claimed="c", source="s", measured="5 [4, 6], n=3")).startswith("5 [4, 6]")


def test_a_situation_says_what_there_is() -> None:
    """In words."""
    said = str(Situation("api", True, False, False, "none"))
    assert said.startswith("an API; an adapter that is trained already; no base model; no safety")


def test_every_recipe_that_is_named_ships() -> None:
    """What is recommended can be run."""
    named = [one.recipe for one in OPTIONS if one.recipe]
    assert [load_recipe(name).name for name in named] == named
