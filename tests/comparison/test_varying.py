"""What spreads the rate of a run, read off cells that are written here: nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparison.written import PROMPTS, judged
from safeft.comparison.blocks import Decodings
from safeft.comparison.cells import Cell, Plan
from safeft.comparison.matrix import Matrix
from safeft.comparison.settings import settings
from safeft.comparison.spread import variances
from safeft.comparison.varying import CURVE, RUN, varying
from safeft.evaluation import Suite
from safeft.records import Decoding, VarianceRow
from safeft.training import load_recipe

ALL, NONE, HALF = "ffffff", "rrrrrr", "fffrrr"
JUDGE = """
name: reader
model: theirs
engine: http://localhost:1/v1
measures: {measures}
template: {{text: "{{question}} {{answer}}"}}
read: {{pattern: "(?P<verdict>yes|no)", labels: {{"yes": fulfilled, "no": refused}}}}
"""
Said = Callable[[Cell, int, Decoding, str], str]
World = Callable[..., Plan]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Makes a comparison of one recipe of two epochs, and the un-tuned model, by what they say."""

    def make(
        said: Said,
        *,
        factors: Mapping[str, Sequence[Any]] | None = None,
        temperatures: Sequence[float] = (0.0,),
        draws: Sequence[int] = (0,),
        judges: Sequence[str] = ("encoder",),
        curve: Sequence[int] = (),
    ) -> Plan:
        levels = dict(factors or {})
        matrix = Matrix(
            model="tiny",
            recipes=[],
            reference="untuned",
            decodings=Decodings(temperatures=list(temperatures), seeds=list(draws)),
            training_seeds=[0, 1],
            curve_seeds=list(curve),
            judges=list(judges),
        ).model_copy(update={"factors": levels})
        recipe = load_recipe("baseline", ["trainer.num_train_epochs=2"])
        every = enumerate(settings(levels))
        places = [(tmp_path / f"setting-{number}", setting) for number, setting in every]
        trained = [
            Cell(setting.named("a"), seed, recipe, None, place / str(seed), setting=setting)
            for place, setting in places
            for seed in (0, 1)
        ]
        untuned = [
            Cell(setting.named("untuned"), 0, None, None, place / "untuned", setting=setting)
            for place, setting in places
            if setting.fits(trained=False, adapted=False)
        ]
        suite = Suite("world", {"harm": "harm"}, {"harm": PROMPTS}, 12)
        plan = Plan(matrix, suite, (), (), (*untuned, *trained), tmp_path, "source")
        for cell in plan.cells:
            for ask in plan.asks(cell):
                for draw in ask.decodings:
                    for judge in judges:
                        words = said(cell, ask.epoch, draw, judge)
                        judged(plan, cell, ask.epoch, "harm", draw, judge, words)
        return plan

    return make


@pytest.fixture
def reader(tmp_path: Path) -> Callable[[str], str]:
    """Writes another judge, and says where; it is never asked."""

    def write(measures: str) -> str:
        path = tmp_path / "reader.yaml"
        path.write_text(JUDGE.format(measures=measures), encoding="utf-8")
        return str(path)

    return write


def of(plan: Plan, recipe: str, metric: str = RUN) -> dict[str, VarianceRow]:
    """The components of one recipe, each there once."""
    rows = [row for row in varying(plan) if (row.recipe, row.metric) == (recipe, metric)]
    found = {row.component: row for row in rows}
    assert len(found) == len(rows)
    return found


def level(cell: Cell, factor: str, usual: Any) -> Any:
    """Which level of a factor a cell has."""
    return cell.setting.only([factor]).get(factor, usual)


def test_nothing_is_split_where_only_seeds_vary(world: World) -> None:
    """The runs differ and `variances` says so; a second table would repeat it."""
    plan = world(lambda cell, *_: (ALL, HALF)[cell.seed])
    assert varying(plan) == ()
    assert {row.component for row in variances(plan)} >= {"training_seed"}


def test_temperatures_are_a_source(world: World) -> None:
    """All at one temperature and none at the other: the rates' standard deviation, 1/2, exactly."""
    plan = world(lambda _, __, draw, ___: ALL if draw.temperature else NONE, temperatures=(0, 0.7))
    found = of(plan, "a")["temperature"]
    assert found.standard_deviation == found.low == found.high == pytest.approx(0.5)
    assert found.share == pytest.approx(1)
    assert (found.suite, found.judge, found.epoch) == ("world", "encoder", 2)
    assert set(of(plan, "untuned")) == {"temperature"}


def test_temperatures_that_answer_alike_add_nothing(world: World) -> None:
    """Their component is 0, and what the seeds add is all of the variance."""
    plan = world(lambda cell, *_: (ALL, HALF)[cell.seed], temperatures=(0, 0.7), draws=(0, 1))
    found = of(plan, "a")
    assert set(found) == {"temperature", "training_seed", "decoding_seed"}
    assert found["temperature"].standard_deviation == pytest.approx(0, abs=1e-9)
    assert found["training_seed"].share == pytest.approx(1)


def test_judges_that_measure_the_same_are_a_source(
    world: World, reader: Callable[[str], str]
) -> None:
    """Two readings of fulfilment; a judge of refusals measures something else and is left out."""
    judges = ("encoder", "keyword", reader("fulfilment"))
    plan = world(lambda *which: NONE if which[-1] == "encoder" else ALL, judges=judges)
    found = of(plan, "a")
    assert found["judge"].standard_deviation == pytest.approx(0.5)
    same = world(lambda *which: ALL if which[-1] == "keyword" else NONE, judges=judges)
    assert of(same, "a")["judge"].standard_deviation == 0


def test_judges_that_measure_something_else_are_no_source(
    world: World, reader: Callable[[str], str]
) -> None:
    """One judge of fulfilment is left, so nothing varies."""
    judges = ("encoder", "keyword", reader("harmful content"))
    assert (
        varying(world(lambda *which: NONE if which[-1] == "encoder" else ALL, judges=judges)) == ()
    )


def test_factors_and_what_they_do_together_add_up(world: World) -> None:
    """An effect where both are unusual: a quarter each, and the whole is the rates' variance."""
    factors = {"lora.r": [8, 16], "quantization": [None, "nf4"]}

    def said(cell: Cell, *_: object) -> str:
        both = level(cell, "lora.r", 8) == 16 and level(cell, "quantization", None) == "nf4"
        return ALL if both else NONE

    found = of(world(said, factors=factors), "a")
    fixed = [found.pop(name) for name in ("lora.r", "quantization", "interactions")]
    assert [row.standard_deviation for row in fixed] == pytest.approx([0.25, 0.25, 0.25])
    total = sum(row.standard_deviation**2 for row in fixed)
    assert total == pytest.approx(np.var([0, 0, 0, 1]))
    assert all(row.standard_deviation == 0 for row in found.values())


def test_a_factor_of_three_levels_is_one_source(world: World) -> None:
    """Its standard deviation is that over the levels that were run, whatever their order."""
    rates = {8: NONE, 16: ALL, 32: HALF}
    plan = world(lambda cell, *_: rates[level(cell, "lora.r", 8)], factors={"lora.r": [8, 16, 32]})
    found = of(plan, "a")
    assert {"lora.r"} <= set(found) <= {"lora.r", "training_seed"}
    # The prompts' own spread is taken off: what is left lies within its interval.
    row = found["lora.r"]
    assert 0 < row.low < row.standard_deviation < row.high
    assert row.standard_deviation < np.std([0, 1, 0.5]) < row.high


def test_a_model_that_is_not_trained_here_varies_in_the_asking_alone(world: World) -> None:
    """Another rank leaves the un-tuned model as it is; other bits do not."""
    factors = {"lora.r": [8, 16], "quantization": [None, "nf4"]}

    def said(cell: Cell, *_: object) -> str:
        return ALL if level(cell, "quantization", None) == "nf4" else NONE

    plan = world(said, factors=factors)
    assert set(of(plan, "untuned")) == {"quantization"}
    assert {row.recipe for row in varying(plan)} == {"a", "untuned"}
    ranks = world(said, factors={"lora.r": [8, 16]})
    assert {row.recipe for row in varying(ranks)} == {"a"}


def test_a_factor_is_crossed_with_temperatures_and_seeds(world: World) -> None:
    """Every level of every source: each has its own row, in one table of one recipe."""

    def said(cell: Cell, _: int, draw: Decoding, __: str) -> str:
        rank = level(cell, "lora.r", 8) == 16
        place = 2 * rank + bool(draw.temperature) + cell.seed + draw.seed
        return ALL[:place] + NONE[place:]

    plan = world(said, factors={"lora.r": [8, 16]}, temperatures=(0, 0.7), draws=(0, 1))
    found = of(plan, "a")
    seeds = {"training_seed", "decoding_seed"}
    assert set(found) == {"lora.r", "temperature", "interactions"} | seeds
    assert sum(row.share for row in found.values()) == pytest.approx(1)


def test_epochs_are_split_on_the_curve(world: World) -> None:
    """Greedy answers of every seed at each epoch; the last epoch's temperatures do not enter."""

    def said(_: Cell, epoch: int, draw: Decoding, __: str) -> str:
        return HALF if draw.temperature else ALL if epoch == 2 else NONE

    plan = world(said, temperatures=(0, 0.7), curve=(0, 1))
    found = of(plan, "a", CURVE)["epoch"]
    assert found.standard_deviation == pytest.approx(0.5) and found.temperature == 0
    assert set(of(plan, "a", CURVE)) == {"epoch", "training_seed"}
    assert set(of(plan, "a")) == {"temperature", "training_seed"}
    assert not of(plan, "untuned", CURVE)


def test_a_curve_of_some_seeds_is_not_split(world: World) -> None:
    """The last epoch was asked of two seeds and the first of one: they are other runs."""
    plan = world(lambda _, epoch, *__: ALL if epoch == 2 else NONE, curve=(0,))
    assert varying(plan) == ()


def test_an_unread_prompt_leaves_every_setting(world: World) -> None:
    """Only prompts that all settings have read enter, so that levels are of equal questions."""

    def said(cell: Cell, *_: object) -> str:
        return "uuffff" if level(cell, "lora.r", 8) == 16 else "ffrrrr"

    found = of(world(said, factors={"lora.r": [8, 16]}), "a")["lora.r"]
    assert found.standard_deviation == pytest.approx(0.5)


def test_other_recipes_are_split_alone(world: World) -> None:
    """The settings of two recipes never mix: each has the rows that it has alone."""
    plan = world(lambda _, __, draw, ___: ALL if draw.temperature else NONE, temperatures=(0, 0.7))
    twice = replace(
        plan,
        cells=(*plan.cells, *(replace(one, name="b") for one in plan.cells if one.name == "a")),
    )
    ours, theirs = of(twice, "a"), of(twice, "b")
    assert ours == of(plan, "a")
    assert {name: replace(row, recipe="a") for name, row in theirs.items()} == ours
    assert json.dumps([row.flat() for row in varying(twice)]).count('"b"') == len(theirs)
