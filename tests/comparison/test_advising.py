"""Advice: what is named can be had, and the page says what the command says."""

from __future__ import annotations

import json
import shlex
from itertools import product
from pathlib import Path

import click
import pytest

from safeft.cli import Verbs
from safeft.comparison.advising import advice, advice_markdown, commands
from safeft.comparison.loading import load_matrix
from safeft.comparison.matrix import recipes
from safeft.training import load_recipe
from safeft.training.advice import ACCESSES, COMPUTES, Situation, recommended
from safeft.training.building import refuse_weights

ROOT = Path(__file__).parents[2]
READ = ["model=testbed:aligned", "data=garden"]
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
    asked, _ = typed(Situation("api", trained=True))
    assert asked.startswith("safeft eval MODEL --engine URL --system-prompt")
    [repaired] = typed(Situation(trained=True, pair=True))
    assert "--base BASE --methods scale,realign " in repaired
    assert "--base" not in typed(Situation(trained=True))[0]


@pytest.mark.parametrize("have", EVERY, ids=str)
def test_what_is_typed_is_understood(have: Situation) -> None:
    """Every option is known and none is missing; what is compared or trained fits its place."""
    for line in commands(have, recommended(have)):
        _, verb, *words = shlex.split(line)
        command = Verbs("safeft").get_command(click.Context(Verbs("safeft")), verb)
        assert command is not None
        given = command.make_context(verb, words).params
        if verb == "compare":
            shorter = [f"recipes={json.dumps(one.split(','))}" for one in given["recipes"]]
            matrix = load_matrix(None, [*shorter, *given["overrides"], *READ])
            assert next(iter(recipes(matrix))) == "baseline" and len(recipes(matrix)) == 3
        elif verb == "train":
            refuse_weights(load_recipe(given["recipe"], given["overrides"]))
