"""Did a recipe learn? Its share of the reference's gain in held-out loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from safeft.comparison.cells import Plan
from safeft.comparison.estimating import key
from safeft.comparison.matrix import UNTUNED
from safeft.comparison.readings import Arm, Floats, last, utility
from safeft.records import Estimate, EstimateRow

LEARNED = 0.2  # below this share of the gain a recipe is labelled
LABEL = "did not learn"
DRAWS = 4000


def learned(plan: Plan) -> tuple[EstimateRow, ...]:
    """`gain_share` for each recipe: (untuned − recipe) / (untuned − reference) in held-out loss.

    The interval is a crossed bootstrap over training seeds and test rows; few seeds make it narrow.
    There is no share of a gain that the reference itself has not made.
    """
    finals = last(plan)
    losses = _losses(finals)
    untuned, reference = losses.pop(UNTUNED, None), losses.pop(plan.matrix.reference, None)
    if untuned is None or reference is None or reference.mean() >= untuned.mean():
        return ()
    rows = []
    for name, loss in losses.items():
        row = replace(
            key(plan, finals[name], "gain_share", "", "none", 0.0),
            suite=plan.test_name,
        )
        rows.append(EstimateRow(row, _share(untuned[0], reference, loss, plan.matrix.level)))
    return tuple(rows)


def _losses(finals: dict[str, Arm]) -> dict[str, Floats]:
    """Seeds × test rows of every recipe that has them; only rows that all of them could read."""
    found = {name: utility(arm, "loss.jsonl", "loss") for name, arm in finals.items()}
    losses = {name: cube[:, :, 0] for name, cube in found.items() if cube is not None}
    read = [~np.isnan(loss).any(axis=0) for loss in losses.values()]
    return {name: loss[:, np.logical_and.reduce(read)] for name, loss in losses.items()}


def labelled(rows: tuple[EstimateRow, ...]) -> dict[str, str]:
    """The recipes that kept less than `LEARNED` of the gain."""
    return {one.row.recipe: LABEL for one in rows if one.value.estimate < LEARNED}


def _share(untuned_P: Floats, reference_SP: Floats, recipe_SP: Floats, level: float) -> Estimate:
    draw = np.random.default_rng(0)
    rows = len(untuned_P)
    shares = np.empty(DRAWS)
    for index in range(DRAWS):
        picked = draw.integers(rows, size=rows)
        means = [
            array[draw.integers(len(array), size=len(array))][:, picked].mean()
            for array in (reference_SP, recipe_SP)
        ]
        start = untuned_P[picked].mean()
        shares[index] = (start - means[1]) / (start - means[0])
    runs = (untuned_P.mean() - recipe_SP.mean(1)) / (untuned_P.mean() - reference_SP.mean())
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(
        float(runs.mean()), float(low), float(high), rows, len(recipe_SP),
        float(runs.min()), float(runs.max()), "crossed bootstrap over seeds and rows",
    )  # fmt: skip
