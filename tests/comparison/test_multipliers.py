"""Risk against the un-tuned model, read off cells that are written here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comparison.risky import ATTACKED, KINDS, SAID, answer, any_attack, rate
from comparison.written import PROMPTS, lines
from safeft.comparison.blocks import Decodings
from safeft.comparison.cells import Cell, Plan
from safeft.comparison.matrix import Matrix
from safeft.comparison.multipliers import against_untuned, at_chance, multipliers
from safeft.comparison.naming import BIASES
from safeft.comparison.settings import settings
from safeft.evaluation import Suite, verdict_file, where
from safeft.evaluation.bias import Item
from safeft.evaluation.suites import Kind
from safeft.records import ComparisonRow, EstimateRow
from safeft.report.estimates import plain
from safeft.training import load_recipe

SCORES = {"untuned": (0.1, 0.2), "bold": (0.3, 0.5), "calm": (0.0, 0.2)}
CLEAR = tuple(Item(str(n), "q", ("a", "b", "c"), False, 2, 0, 1) for n in range(12))
VAGUE = tuple(Item(str(n), "q", ("a", "b", "c"), True, 1, 0, 1) for n in range(12))


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    """Two recipes by two seeds and the un-tuned model: harm and jailbreaks, two temperatures."""
    matrix = Matrix(
        model="tiny",
        recipes=[],
        reference="untuned",
        decodings=Decodings(temperatures=[0.0, 0.7]),
        training_seeds=[0, 1],
        judges=["encoder"],
        level=0.9,
    ).model_copy(update={"reference": "bold"})
    recipe = load_recipe("baseline", ["trainer.num_train_epochs=1"])
    trained = [
        Cell(name, seed, recipe, None, tmp_path / f"{name}-{seed}")
        for seed in (0, 1)
        for name in ("bold", "calm")
    ]
    cells = (Cell("untuned", 0, None, None, tmp_path / "untuned"), *trained)
    suite = Suite("world", KINDS, {"harm": PROMPTS, "attacked": ATTACKED}, 12)
    made = Plan(matrix, suite, (), (), cells, tmp_path / "written", "source")
    for cell in cells:
        answer(made, cell)
    return made


def without(planned: Plan, *names: str) -> Plan:
    """The comparison without these."""
    return replace(planned, cells=tuple(one for one in planned.cells if one.name not in names))


def only(planned: Plan, **kinds: Kind) -> Plan:
    """The comparison with these sets alone."""
    kept = {name: planned.suite.prompts[name] for name in kinds}
    return replace(planned, suite=replace(planned.suite, kinds=kinds, prompts=kept))


def one(rows: Sequence[EstimateRow], recipe: str, metric: str, temperature: float) -> EstimateRow:
    """The one row of these keys."""
    wanted = (recipe, f"multiplier_{metric}", temperature)
    (found,) = [x for x in rows if (x.row.recipe, x.row.metric, x.row.temperature) == wanted]
    return found


@pytest.mark.parametrize("recipe", ["bold", "calm"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_multiple_is_the_ratio_of_two_means(
    planned: Plan, recipe: str, temperature: float
) -> None:
    """Unread answers count on neither side; single runs over that mean are its range."""
    found = one(multipliers(planned), recipe, "fulfilment_rate", temperature)
    below = rate("untuned", "harm", temperature)
    assert found.value.estimate == pytest.approx(rate(recipe, "harm", temperature) / below)
    runs = [
        np.mean([letter == "f" for letter in said if letter != "u"]) / below
        for said in SAID[recipe, "harm", temperature]
    ]
    assert (found.value.minimum, found.value.maximum) == pytest.approx((min(runs), max(runs)))
    assert (found.value.n, found.value.n_seeds) == (6, 2)
    assert (found.row.suite, found.row.judge, found.row.epoch) == ("world", "encoder", 1)


def test_attacks_are_multiplied_by_answer_and_by_request(planned: Plan) -> None:
    """Any of a request's attacks: n counts requests, and the ratio is that of their shares."""
    rows = multipliers(planned)
    answers, requests = (
        one(rows, "bold", metric, 0.7) for metric in ("jailbreak_rate", "jailbreak_any_rate")
    )
    share = rate("bold", "attacked", 0.7) / rate("untuned", "attacked", 0.7)
    assert answers.value.estimate == pytest.approx(share) and answers.value.n == 6
    anyhow = [rate(name, "attacked", 0.7, any_attack) for name in ("bold", "untuned")]
    assert requests.value.estimate == pytest.approx(anyhow[0] / anyhow[1])
    assert requests.value.n == 3 and requests.row.suite == "world/attacked"


def test_there_is_no_multiple_of_nothing(planned: Plan) -> None:
    """The un-tuned model withstood every greedy attack: NaN, no ends, and a method that says so."""
    rows = multipliers(planned)
    for recipe in ("bold", "calm"):
        for metric in ("jailbreak_rate", "jailbreak_any_rate"):
            value = one(rows, recipe, metric, 0.0).value
            numbers = (value.estimate, value.low, value.high, value.minimum, value.maximum)
            assert all(map(math.isnan, numbers))
            assert value.method.startswith("undefined") and "difference" in value.method
            assert not one(rows, recipe, metric, 0.7).value.method.startswith("undefined")


def test_toxicity_is_multiplied_by_its_score(planned: Plan) -> None:
    """Without any jailbreak, scores alone make the axes; the ratio is that of the mean scores."""
    scored = only(planned, harm="harm")
    assert multipliers(scored) == ()
    matrix = planned.matrix.model_copy(update={"judges": ["encoder", "toxicity"]})
    for cell in scored.cells:
        score = SCORES[cell.name][cell.seed]
        for draw in scored.asks(cell)[-1].decodings:
            place = where(cell.folder / f"epoch-{cell.epochs}", scored.suite, "harm", draw)
            said = {"label": "refused", "judge": "toxicity"}
            records = [
                {"id": prompt.id, **said, "scores": {"toxicity": score + 0.05 * (n % 2)}}
                for n, prompt in enumerate(PROMPTS)
            ]
            lines(place / verdict_file("toxicity", "none"), records)
    rows = multipliers(replace(scored, matrix=matrix))
    found = one(rows, "bold", "toxicity_mean", 0.0)
    assert found.value.estimate == pytest.approx((0.4 + 0.025) / (0.1 + 0.025))
    assert {x.row.metric for x in rows} == {
        "multiplier_fulfilment_rate",
        "multiplier_toxicity_mean",
    }


def test_harm_alone_is_no_table_of_risks(planned: Plan) -> None:
    """Neither multiples nor differences without another axis, or without an un-tuned model."""
    harm = only(planned, harm="harm")
    assert multipliers(harm) == () and against_untuned(harm) == ()
    alone = without(planned, "untuned")
    assert multipliers(alone) == () and against_untuned(alone) == ()


def test_the_untuned_model_is_no_multiple_of_itself(planned: Plan) -> None:
    """Every other model is; broken answers and refusals are no risk and have no multiple."""
    rows = multipliers(planned)
    assert {x.row.recipe for x in rows} == {"bold", "calm"}
    risks = ("fulfilment_rate", "jailbreak_rate", "jailbreak_any_rate")
    assert {x.row.metric for x in rows} == {f"multiplier_{name}" for name in risks}
    assert len(rows) == 2 * 3 * 2


def found_of(rows: Sequence[ComparisonRow]) -> Mapping[tuple[str, str, float], ComparisonRow]:
    """Differences by recipe, metric and temperature, each there once."""
    keys = [(x.row.recipe, x.row.metric, x.row.temperature) for x in rows]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows, strict=True))


def test_differences_are_a_family_over_recipes(planned: Plan) -> None:
    """The same difference, less surely: two recipes have wider intervals than one, and larger p."""
    # Six prompts: at a high level every interval would end at 1.
    plan = replace(planned, matrix=planned.matrix.model_copy(update={"level": 0.6}))
    both, lone = (against_untuned(one) for one in (plan, without(plan, "calm")))
    assert {x.reference for x in (*both, *lone)} == {"untuned"}
    wide, narrow = found_of(both), found_of(lone)
    assert {name for name, *_ in wide} == {"bold", "calm"}
    assert {name for name, *_ in narrow} == {"bold"}
    for key, row in narrow.items():
        beside = wide[key]
        assert beside.difference == pytest.approx(row.difference) and beside.p == row.p
        assert beside.low < row.low < row.difference < row.high <= beside.high <= 1
        assert beside.p_adjusted >= row.p_adjusted == row.p
    alone, greedy = (x["bold", "fulfilment_rate", 0.0] for x in (narrow, wide))
    assert alone.high < greedy.high < 1
    assert greedy.difference == pytest.approx(
        rate("bold", "harm", 0.0) - rate("untuned", "harm", 0.0)
    )


def test_what_has_no_multiple_has_a_difference(planned: Plan) -> None:
    """Where nothing got through to the un-tuned model, the difference is the recipe's own rate."""
    found = found_of(against_untuned(planned))["bold", "jailbreak_rate", 0.0]
    assert found.difference == pytest.approx(rate("bold", "attacked", 0.0))
    assert found.low < found.difference < found.high


def test_nothing_is_compared_with_untuned_twice(planned: Plan) -> None:
    """Where it is the reference, the comparisons hold those differences; multiples stay."""
    matrix = planned.matrix.model_copy(update={"reference": "untuned"})
    plan = replace(planned, matrix=matrix)
    assert against_untuned(plan) == () and multipliers(plan) == multipliers(planned)


def test_other_settings_have_multiples_and_join_no_family(planned: Plan, tmp_path: Path) -> None:
    """A setting's rate is over the usual un-tuned model's, and widens nobody's interval."""
    _, setting = settings({"lora.r": [8, 16]})
    name, recipe = setting.named("bold"), planned.cells[1].recipe
    more = tuple(
        Cell(name, seed, recipe, None, tmp_path / f"more-{seed}", setting=setting)
        for seed in (0, 1)
    )
    wider = replace(planned, cells=(*planned.cells, *more))
    for cell in more:
        answer(wider, cell)
    usual, other = (
        one(multipliers(wider), recipe, "fulfilment_rate", 0.7).value for recipe in ("bold", name)
    )
    assert other == usual
    # As they are written: two NaN are never equal, and no margin was set.
    pair = [[plain(one.flat()) for one in against_untuned(each)] for each in (wider, planned)]
    assert pair[0] == pair[1]


def leaning(plan: Plan, right: Mapping[str, int], vague: str) -> Plan:
    """The comparison with BBQ: so many clear answers of 12 are right, and the vague ones alike.

    A wrong clear answer is the stereotype; `vague` says per ambiguous item u(nknown), b(iased) or
    o(ther).
    """
    places = {"u": 1, "b": 0, "o": 2}
    for cell in plan.cells:
        chosen = [2 if n < right[cell.name] else 0 for n in range(len(CLEAR))]
        chosen += [places[letter] for letter in vague]
        losses = [{"loss": 1.0 if n == one else 2.0} for one in chosen for n in range(3)]
        lines(cell.folder / f"epoch-{cell.epochs}" / "utility" / "bias.jsonl", losses)
    return replace(plan, bias=(*CLEAR, *VAGUE))


def test_who_may_be_guessing_is_named(planned: Plan) -> None:
    """4 of 12 clear answers are what chance gives; answers to vague questions say nothing of it."""
    right = {"untuned": 12, "bold": 4, "calm": 12}
    assert at_chance(leaning(planned, right, "b" * 12)) == ("bold",)
    assert at_chance(leaning(planned, dict.fromkeys(right, 11), "b" * 12)) == ()
    assert at_chance(planned) == ()


def test_guessing_is_a_matter_of_the_level(planned: Plan) -> None:
    """8 of 12 lies above a third: the interval reaches it at a high level, and not at a low one."""
    plan = leaning(planned, {"untuned": 8, "bold": 12, "calm": 12}, "u" * 12)
    for level, named in ((0.6, ()), (0.9999, ("untuned",))):
        matrix = plan.matrix.model_copy(update={"level": level})
        assert at_chance(replace(plan, matrix=matrix)) == named


def test_bias_is_compared_and_never_multiplied(planned: Plan) -> None:
    """Bias opens the table; its scores may be below 0, so differences are not cut off at 1."""
    harm = only(planned, harm="harm")
    plan = leaning(harm, {"untuned": 11, "bold": 2, "calm": 11}, "o" * 12)
    rows = multipliers(plan)
    assert rows and {x.row.metric for x in rows} == {"multiplier_fulfilment_rate"}
    found = found_of(against_untuned(plan))
    accuracy = found["bold", "disambiguated_accuracy", 0.0]
    assert accuracy.difference == pytest.approx(-9 / 12) and accuracy.row.suite == "BBQ"
    # Of the clear answers one in 12 was the stereotype, then ten in 12: 2·10/12 - 2·1/12.
    leant = found["bold", "disambiguated_bias", 0.0]
    assert leant.difference == pytest.approx(18 / 12)
    assert leant.low < leant.difference < leant.high and leant.high > 1
    assert {name for _, name, _ in found} & set(BIASES) >= {"ambiguous_accuracy"}
