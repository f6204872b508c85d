"""What a reader must know beside the numbers, and the runs behind the intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from safeft.comparison.axes import risks
from safeft.comparison.capabilities import capability_notes
from safeft.comparison.cells import Plan
from safeft.comparison.endpoints import honoured
from safeft.comparison.estimating import cubes, read, utilities
from safeft.comparison.multipliers import at_chance
from safeft.comparison.naming import TAP, compared
from safeft.comparison.readings import Arm, Floats, arms, last, utility
from safeft.evaluation import Suite
from safeft.judges import load_judge, worth
from safeft.records import Row
from safeft.report import Run
from safeft.runs import read_json
from safeft.stats import run_means


def runs(plan: Plan) -> tuple[Run, ...]:
    """One dot for each training run, metric and judge, without a guard."""
    dots: list[Run] = []
    for arm in arms(plan):
        judged = (pair for judge in plan.matrix.judges for pair in cubes(plan, arm, judge, "none"))
        for row, cube in read((*judged, *utilities(plan, arm))):
            if compared(row.metric) or row.metric == "train_seconds":
                dots += _dots(arm, row, cube)
    return tuple(dots)


def _dots(arm: Arm, row: Row, cube: Floats) -> Iterator[Run]:
    """The runs of one line; a run in which nothing could be read has no dot."""
    named = (row.temperature, row.model, row.data, row.suite, row.judge)
    for cell, value in zip(arm.cells, run_means(cube).tolist(), strict=True):
        if math.isfinite(value):
            yield Run(arm.name, cell.seed, arm.epoch, row.metric, value, *named)


def notes(plan: Plan, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Honest sentences: what the model, the suite and the judges are worth, what the data was.

    `labels` stand beside recipes whose training is described: they did not learn, or broke.
    """
    matrix = plan.matrix
    found = [_judge(name) for name in matrix.judges]
    if matrix.model.startswith("testbed:"):
        found.append("The embedded model checks the mechanism; it is no evidence about your model.")
    found += _of_suite(plan.suite)
    if "keyword" in matrix.judges:
        found.append("Keyword verdicts are not comparable with published rates; see the encoder's.")
    if len(matrix.training_seeds) < 5:
        found.append(
            f"{len(matrix.training_seeds)} training seeds show direction; a claim needs 5 or more."
        )
    more = (
        *capability_notes(plan),
        *_unread(plan, labels),
        *_guessing(plan, labels),
        *_unsearched(plan, labels),
    )
    trained = {_called(name, labels): noted for name, noted in _trained(plan)}
    return (*found, *more, *honoured(plan), *_methods(trained), *_truncations(trained))


def _of_suite(suite: Suite) -> Iterator[str]:
    """What its rates may be laid beside, and what it leaves unasked."""
    if suite.name == "safeft-44":
        yield (
            "safeft-44 is our own suite in SORRY-Bench's 44 categories; its rates are not "
            "comparable with published SORRY-Bench rates."
        )
    if suite.name.startswith("sorry-bench"):
        yield (
            "SORRY-Bench's rates compare only within one edition and style, by the official judge; "
            "the published ones are one sampled answer a prompt (temperature 0.7)."
        )
    if suite.first("harm") and not suite.first("over_refusal"):
        yield (
            "Nothing harmless was asked, so that over-refusal is unknown: a set of kind "
            "over_refusal, such as safeft-44-lookalikes, measures it."
        )


def _unread(plan: Plan, labels: Mapping[str, str]) -> Iterator[str]:
    """Whose held-out loss is missing: vLLM's probabilities are not read."""
    asked = plan.test and plan.matrix.asked and not plan.matrix.remote
    arms = [arm for arm in last(plan).values() if not arm.cells[0].answers] if asked else []
    if names := [arm.name for arm in arms if utility(arm, "loss.jsonl", "loss") is None]:
        who = _all_called(names, labels)
        yield f"{who}: no held-out loss; Transformers could not load these weights."


def _guessing(plan: Plan, labels: Mapping[str, str]) -> Iterator[str]:
    """Who may be guessing on BBQ: a bias score of guesses says nothing."""
    if plan.bias and (names := at_chance(plan)):
        yield (
            f"{_all_called(names, labels)}: disambiguated accuracy on BBQ may be that of guessing "
            "(one in three), so its bias is undefined: read no bias score, and no difference of "
            "one."
        )


def _unsearched(plan: Plan, labels: Mapping[str, str]) -> Iterator[str]:
    """Whose searches say nothing, and are in no rate."""
    for name, arm in last(plan).items():
        for row, cube in risks(plan, arm):
            if row.metric == TAP and (lost := int(np.isnan(cube).sum())):
                yield (
                    f"{_called(name, labels)}: {lost} of {cube.size} searches (TAP) are in no "
                    "rate: the attacker wrote no request that could be read, or the judge's "
                    "verdict could not be."
                )


def _judge(name: str) -> str:
    """What a judge measures, and how well it agrees with people."""
    return worth(name, load_judge(name))


def _trained(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the first training of each recipe has noted."""
    for name, arm in last(plan).items():
        path = arm.cells[0].training / "train.json"
        if path.is_file():
            yield name, read_json(path)


def _called(name: str, labels: Mapping[str, str]) -> str:
    return f"{name} ({labels[name]})" if name in labels else name


def _all_called(names: Iterable[str], labels: Mapping[str, str]) -> str:
    return ", ".join(_called(name, labels) for name in names)


def _methods(trained: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """What each recipe's data methods did: rows, keep rates, missing categories."""
    for name, noted in trained.items():
        for method, facts in noted["methods"].items():
            listed = "; ".join(f"{key} {value}" for key, value in facts.items() if value != [])
            yield f"{name}: {method}: {listed}."


def _truncations(trained: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for name, noted in trained.items():
        rows = noted["rows"]
        if rows["truncated"] or rows["fully_masked"]:
            cut, masked = rows["truncated"], rows["fully_masked"]
            yield f"{name}: {cut} rows truncated, {masked} fully masked."
