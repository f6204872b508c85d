"""Laws of the numbers, read off cells that are written here: nothing is trained or asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from comparison.numbered import one, said
from comparison.written import PROMPTS, judged, lines
from safeft.comparison.cells import Cell, Plan
from safeft.comparison.comparing import comparisons
from safeft.comparison.estimating import estimates
from safeft.comparison.incoherence import MANY, faults, incoherent, warned
from safeft.comparison.matrix import Decodings, Matrix
from safeft.comparison.notes import runs
from safeft.comparison.readings import Arm, measured
from safeft.comparison.slices import categories
from safeft.comparison.spread import variances
from safeft.evaluation import Suite
from safeft.evaluation.suites import Kind
from safeft.records import Decoding, EstimateRow
from safeft.stats import benjamini_hochberg
from safeft.training import load_recipe

SEEDS = (0, 1, 2)


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    """Two recipes by three seeds and two epochs, two judges, one curve seed, two temperatures."""
    matrix = Matrix(
        model="tiny",
        data="rows",
        test_data="test",
        recipes=[],
        reference="untuned",
        decodings=Decodings(temperatures=[0.0, 0.7], seeds=[0, 1]),
        training_seeds=list(SEEDS),
        curve_seeds=[0],
        judges=["encoder", "keyword"],
        level=0.9,
    ).model_copy(update={"reference": "baseline"})
    recipe = load_recipe("baseline", ["trainer.num_train_epochs=2"])
    trained = [
        Cell(name, seed, recipe, None, tmp_path / f"{name}-{seed}")
        for seed in SEEDS
        for name in ("baseline", "calm")
    ]
    cells = (Cell("untuned", 0, None, None, tmp_path / "untuned"), *trained)
    kinds: dict[str, Kind] = {"harm": "harm", "harmless": "over_refusal"}
    suite = Suite("world", kinds, dict.fromkeys(kinds, PROMPTS), 12)
    made = Plan(matrix, suite, (), (), cells, tmp_path / "written", "source")
    for cell in cells:
        for ask in made.asks(cell):
            _answer(made, cell, ask.epoch, ask.decodings)
    return made


def _answer(planned: Plan, cell: Cell, epoch: int, draws: Sequence[Decoding]) -> None:
    """Verdicts, losses and seconds of one epoch of a cell."""
    for key in planned.suite.kinds:
        for draw in draws:
            for judge in planned.matrix.judges:
                words = said(cell.name, cell.seed, epoch, key, draw, judge)
                judged(planned, cell, epoch, key, draw, judge, words)
    end = {"untuned": 8.0, "baseline": 4.0, "calm": 7.0}[cell.name]
    losses = [{"loss": end + 0.1 * row + 0.05 * cell.seed * (row % 2)} for row in range(5)]
    lines(cell.folder / f"epoch-{epoch}" / "utility" / "loss.jsonl", losses)
    if cell.recipe:
        lines(cell.folder / "training" / "cost.json", [{"seconds": 40.0 + 20 * cell.seed**2}])


def test_broken_answers_to_harmless_requests_are_counted(planned: Plan) -> None:
    """Half of the harmless requests met noise; none was refused, and the suite says which set."""
    assert one(planned, "baseline", "over_refusal_rate").estimate == 0
    noise = one(planned, "baseline", "neither_rate", suite="world/harmless")
    assert (noise.estimate, noise.n) == (0.5, 6)
    assert one(planned, "baseline", "unread_rate", suite="world/harmless").estimate == 0
    assert one(planned, "baseline", "neither_rate").estimate == pytest.approx(1 / 18)


def test_the_reasons_for_neither_add_up_to_its_rate(planned: Plan) -> None:
    """All noise was repetitive here; a reason that nobody gave is no row."""
    rows = faults(planned)
    assert {entry.row.metric for entry in rows} == {"neither_repetitive"}
    found = {(e.row.recipe, e.row.judge, e.row.temperature): e.value for e in rows}
    share = found["baseline", "encoder", 0.0]
    assert share == one(planned, "baseline", "neither_rate")
    assert share.n == 6
    assert found["untuned", "encoder", 0.0].estimate == 0


def test_a_recipe_that_breaks_is_labelled(planned: Plan) -> None:
    """A fifth of its answers or more, at its last epoch; a little noise is no warning."""
    rows = estimates(planned)
    assert incoherent(planned, rows) == {}
    assert warned({}) == ()

    def noisy(entry: EstimateRow, share: float) -> EstimateRow:
        wanted = entry.row.recipe == "calm" and entry.row.metric == "neither_rate"
        return replace(entry, value=replace(entry.value, estimate=share)) if wanted else entry

    labels = incoherent(planned, [noisy(entry, MANY) for entry in rows])
    assert labels == {"calm": "often incoherent"}
    assert incoherent(planned, [noisy(entry, MANY - 0.01) for entry in rows]) == {}
    assert warned(labels)[0].startswith("calm: 20% or more")


def test_a_margin_set_beforehand_is_tested(planned: Plan) -> None:
    """`calm` is three nats worse than the baseline: a loss of one is there, of six is not."""

    def lost(margin: float) -> tuple[float, float]:
        margins = {"held_out_loss": margin}
        told = planned.matrix.model_copy(update={"margins": margins})
        rows = comparisons(replace(planned, matrix=told))
        (found,) = [r for r in rows if (r.row.recipe, r.row.metric) == ("calm", "held_out_loss")]
        return found.margin, found.p_lost

    assert lost(6.0)[0] == 6.0
    assert lost(6.0)[1] < 0.05 < 0.5 < lost(1.0)[1]
    without = [row for row in comparisons(planned) if row.row.metric == "held_out_loss"]
    assert without and all(math.isnan(row.p_lost) and math.isnan(row.margin) for row in without)


def test_categories_are_compared_and_adjusted_together(planned: Plan) -> None:
    """One row a category; q is the step-up adjusted p of its family, and never below p."""
    rows = [r for r in categories(planned) if r.row.recipe == "calm" and r.row.judge == "encoder"]
    greedy = [row for row in rows if row.row.temperature == 0]
    assert [row.row.group for row in greedy] == ["category:1", "category:2"]
    adjusted = benjamini_hochberg([row.p for row in greedy]).tolist()
    assert [row.p_adjusted for row in greedy] == pytest.approx(adjusted, nan_ok=True)
    for row in greedy:
        inside = [number % 2 == (row.row.group == "category:2") for number in range(6)]
        assert row.n == sum(inside)
    assert not {row.row.recipe for row in categories(planned)} & {"baseline"}


def test_any_change_of_verdict_is_a_flip(planned: Plan) -> None:
    """Greedy seeds: f·f·f, f·n·f, r·r·f, r, r, r·r·unread: two of six prompts flip."""
    found = one(planned, "baseline", "flip_rate")
    assert found.estimate == pytest.approx(2 / 6)
    assert found.n == 6
    refused_to_neither = one(planned, "baseline", "flip_rate", temperature=0.7)
    assert refused_to_neither.estimate == pytest.approx(5 / 6)


def test_stability_weighs_how_many_runs_dissent(planned: Plan) -> None:
    """The same greedy seeds: two of six prompts have one dissent in three, the others none."""
    found = one(planned, "baseline", "stability_index")
    assert (found.estimate, found.n) == (pytest.approx((4 + 2 * 2 / 3) / 6), 6)
    assert math.isnan(found.minimum) and "over 3 runs" in found.method


def test_runs_are_training_seeds(planned: Plan) -> None:
    """Smallest, largest and dots agree: decodes are averaged within a seed."""
    found = one(planned, "baseline", "fulfilment_rate", temperature=0.7)
    dots = [
        run.value
        for run in runs(planned)
        if (run.recipe, run.epoch, run.metric) == ("baseline", 2, "fulfilment_rate")
        and (run.judge, run.temperature) == ("encoder", 0.7)
    ]
    assert (found.minimum, found.maximum) == (min(dots), max(dots))
    assert sorted(dots) == pytest.approx([2 / 6, 3 / 6, 4 / 6])


def test_every_judge_has_its_runs(planned: Plan) -> None:
    """Each with its own values, under its own name; nobody judged a loss."""
    dots = {
        (run.judge, run.value)
        for run in runs(planned)
        if (run.recipe, run.epoch, run.metric) == ("calm", 2, "fulfilment_rate")
    }
    assert {judge for judge, _ in dots} == {"encoder", "keyword"}
    assert {value for judge, value in dots if judge == "keyword"} == {4 / 6}
    assert {run.judge for run in runs(planned) if run.metric == "held_out_loss"} == {""}


def test_a_curve_is_of_the_seeds_that_have_every_epoch(planned: Plan) -> None:
    """The last epoch has three seeds and a row over the one that was asked earlier too."""
    assert one(planned, "baseline", "fulfilment_rate").n_seeds == 3
    found = one(planned, "baseline", "fulfilment_rate", group="curve")
    assert (found.n_seeds, found.estimate) == (1, 2 / 6)
    assert one(planned, "baseline", "fulfilment_rate", epoch=1).n_seeds == 1
    temperatures = {
        entry.row.temperature for entry in estimates(planned) if entry.row.group == "curve"
    }
    assert temperatures == {0.0}
    metrics = {entry.row.metric for entry in estimates(planned) if entry.row.group == "curve"}
    assert "held_out_loss" in metrics
    assert "train_seconds" not in metrics


def test_a_whole_curve_needs_no_other_rows(planned: Plan) -> None:
    """Where every seed was asked at every epoch, greedily, nothing is said twice."""
    greedy = {"curve_seeds": list(SEEDS), "decodings": Decodings()}
    for cell in planned.cells:
        if cell.recipe:
            _answer(planned, cell, 1, [Decoding(0.0, 0, 12)])
    whole = replace(planned, matrix=planned.matrix.model_copy(update=greedy))
    assert not [entry for entry in estimates(whole) if entry.row.group == "curve"]


def test_comparisons_carry_method_and_size(planned: Plan) -> None:
    """Their own n, their method, and what they could have shown."""
    found = {
        (c.row.recipe, c.row.judge): c
        for c in comparisons(planned)
        if c.row.metric == "fulfilment_rate" and c.row.temperature == 0
    }
    calm = found["calm", "encoder"]
    assert (calm.n, calm.n_seeds) == (6, 3)
    assert calm.method == "crossed seeds × prompts t"
    assert calm.detectable > 0
    assert set(found) == {
        (recipe, judge) for recipe in ("calm", "untuned") for judge in ("encoder", "keyword")
    }


def test_seconds_are_never_negative(planned: Plan) -> None:
    """40, 60 and 120 seconds: the interval is a factor."""
    found = one(planned, "baseline", "train_seconds", judge="", suite="")
    assert 0 < found.low < found.estimate < found.high
    assert found.method == "t over training seeds on the log scale"


def test_runs_without_spread_are_said_to_have_none(planned: Plan) -> None:
    """The calm recipe's runs are all equal: no ratio, and not a number that was lost."""
    calm = one(planned, "calm", "run_sd_ratio")
    assert (calm.estimate, calm.n) == (0.0, 6)
    assert calm.method == "no interval: no spread between the recipe's runs"


def test_the_next_run_has_a_wider_interval(planned: Plan) -> None:
    """One run of the recipe is less sure than their mean over the same prompts; n counts runs."""
    found = one(planned, "baseline", "fulfilment_next_run", temperature=0.7)
    assert found.n == 3
    assert found.low < 2 / 6 < 4 / 6 < found.high


def test_variance_names_what_it_is_of(planned: Plan) -> None:
    """First judge, last epoch, the temperature with the most decoding seeds."""
    found = {(v.judge, v.epoch, v.temperature) for v in variances(planned)}
    assert found == {("encoder", 2, 0.7)}


@pytest.mark.parametrize("words", [("rrrrru", "rrrrrf", "rrrrrr"), ("uuuuuf", "uuuuur", "uuuuur")])
def test_variance_that_cannot_be_split_is_left_out(planned: Plan, words: Sequence[str]) -> None:
    """Prompts that not every run could read do not enter; what is left varies no more."""
    for cell in planned.cells:
        if cell.name == "calm":
            for draw in planned.asks(cell)[-1].decodings:
                judged(planned, cell, 2, "harm", draw, "encoder", words[cell.seed])
    assert {found.recipe for found in variances(planned)} == {"baseline"}


def test_the_share_of_the_gain_has_a_fieller_interval(planned: Plan) -> None:
    """(8 - 7) / (8 - 4), with the crossed t at the comparison's level."""
    found = one(planned, "calm", "gain_share", judge="", suite="test")
    assert found.estimate == pytest.approx(0.25, abs=0.01)
    assert found.low < found.estimate < found.high
    assert found.method == "Fieller with the crossed t"


def test_judges_say_what_they_measure(planned: Plan) -> None:
    """Not refused is not fulfilled: the report is told."""
    kept = planned.matrix.model_copy(update={"judges": ["keyword"]})
    assert measured(kept) == {"keyword": "refusal"}


def test_an_arm_of_one_training_is_no_fixed_model(planned: Plan) -> None:
    """One seed of a recipe is one draw; the untuned model is what it is."""
    (untuned, baseline, *_) = planned.cells
    assert Arm("untuned", 0, (untuned,)).fixed
    assert not Arm("baseline", 2, (baseline,)).fixed
