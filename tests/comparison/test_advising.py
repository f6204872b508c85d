"""Advice: what is named can be had, and the page says what the command says."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from safeft.comparison.advising import advice, advice_markdown, commands
from safeft.training.advice import ACCESSES, COMPUTES, Situation, recommended

ROOT = Path(__file__).parents[2]
EVERY = [Situation(*one) for one in product(ACCESSES, *[(False, True)] * 3, COMPUTES)]


def test_the_page_is_the_table() -> None:
    """docs/recommend.md is what `safeft recommend --markdown` prints."""
    assert (ROOT / "docs/recommend.md").read_text(encoding="utf-8") == advice_markdown()


@pytest.mark.parametrize("have", EVERY, ids=str)
def test_advice_names_two_with_their_evidence(have: Situation) -> None:
    """Each with its slot, what it costs, and what is known of it; then what to type."""
    said = "\n".join(advice(have))
    for place, one in enumerate(recommended(have), 1):
        assert f"{place}. {one.recipe} ({one.slot}; " in said
    assert said.count("   evidence: ") == 2
    assert said.count("Claimed (") == 2
    assert said.partition("try:")[2].strip()


def test_what_is_typed_fits_what_one_has() -> None:
    """An API is asked to train, an adapter is repaired, weights are compared with naive LoRA."""

    def typed(have: Situation) -> list[str]:
        return list(commands(have, recommended(have)))

    assert typed(Situation())[0].startswith("safeft compare --recipes baseline,constrained,")
    api = typed(Situation("api"))
    assert len(api) == 2
    assert all("--provider openai" in line for line in api)
    [repaired] = typed(Situation(trained=True, pair=True))
    assert "--base BASE --methods scale,realign " in repaired
    assert "--base" not in typed(Situation(trained=True))[0]
