"""What a reader must know beside the numbers, and the runs behind the intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator

from safeft.comparison.cells import Plan
from safeft.comparison.estimating import cubes, read, utilities
from safeft.comparison.matrix import Matrix
from safeft.comparison.readings import Arm, Floats, arms, last
from safeft.judges import load_judge
from safeft.records import Row
from safeft.report import Run
from safeft.runs import read_json
from safeft.stats import run_means

_DOTS = (
    "fulfilment_rate",
    "refusal_rate",
    "over_refusal_rate",
    "held_out_loss",
    "rouge_l",
    "train_seconds",
)


def runs(plan: Plan) -> tuple[Run, ...]:
    """One dot for each training run, metric and judge, without a guard."""
    dots: list[Run] = []
    for arm in arms(plan):
        judged = (pair for judge in plan.matrix.judges for pair in cubes(plan, arm, judge, "none"))
        for row, cube in read((*judged, *utilities(plan, arm))):
            if row.metric in _DOTS:
                dots += _dots(arm, row, cube)
    return tuple(dots)


def _dots(arm: Arm, row: Row, cube: Floats) -> Iterator[Run]:
    """The runs of one line; a run in which nothing could be read has no dot."""
    named = (row.temperature, row.model, row.data, row.suite, row.judge)
    for cell, value in zip(arm.cells, run_means(cube).tolist(), strict=True):
        if math.isfinite(value):
            yield Run(arm.name, cell.seed, arm.epoch, row.metric, value, *named)


def measured(matrix: Matrix) -> dict[str, str]:
    """What a positive verdict of each judge means: a report heads its rates by that."""
    return {name: load_judge(name).measures for name in matrix.judges}


def notes(plan: Plan) -> tuple[str, ...]:
    """Honest sentences: what the model, the suite and the judges are worth, what the data was."""
    matrix = plan.matrix
    found = [f"Judge {name}: measures {what}." for name, what in measured(matrix).items()]
    if matrix.model.startswith("testbed:"):
        found.append("The embedded model checks the mechanism; it is no evidence about your model.")
    if plan.suite.name == "safeft-44":
        found.append(
            "safeft-44 is our own suite in SORRY-Bench's 44 categories; its rates are not "
            "comparable with published SORRY-Bench rates."
        )
    if "keyword" in matrix.judges:
        found.append("Keyword verdicts are not comparable with published rates; see the encoder's.")
    if len(matrix.training_seeds) < 5:
        found.append(
            f"{len(matrix.training_seeds)} training seeds show direction; a claim needs 5 or more."
        )
    return (*found, *_methods(plan), *_truncations(plan))


def _methods(plan: Plan) -> list[str]:
    """What each recipe's data methods did: rows, keep rates, missing categories."""
    said = []
    for name, arm in last(plan).items():
        path = arm.cells[0].folder / "training" / "train.json"
        methods = read_json(path)["methods"] if path.is_file() else {}
        for method, facts in methods.items():
            listed = "; ".join(f"{key} {value}" for key, value in facts.items() if value != [])
            said.append(f"{name}: {method}: {listed}.")
    return said


def _truncations(plan: Plan) -> list[str]:
    said = []
    for name, arm in last(plan).items():
        path = arm.cells[0].folder / "training" / "train.json"
        rows = read_json(path)["rows"] if path.is_file() else {}
        if rows.get("truncated") or rows.get("fully_masked"):
            said.append(
                f"{name}: {rows['truncated']} rows truncated, {rows['fully_masked']} fully masked."
            )
    return said
