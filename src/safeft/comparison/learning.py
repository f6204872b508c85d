"""Did a recipe learn? Its share of the reference's gain in held-out loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from safeft.comparison.cells import Plan
from safeft.comparison.matrix import UNTUNED
from safeft.comparison.naming import key
from safeft.comparison.readings import Arm, Floats, last, utility
from safeft.records import Estimate, EstimateRow
from safeft.stats import gain_share

LEARNED = 0.2  # below this share of the gain a recipe is labelled
LABEL = "did not learn"


def learned(plan: Plan) -> tuple[EstimateRow, ...]:
    """`gain_share` for each recipe: (untuned − recipe) / (untuned − reference) in held-out loss.

    There is no share of a gain that the reference itself has not made.
    """
    finals = last(plan)
    losses = _losses(finals)
    untuned, reference = losses.pop(UNTUNED, None), losses.pop(plan.matrix.reference, None)
    if untuned is None or reference is None or reference.mean() >= untuned.mean():
        return ()
    rows, level = [], plan.matrix.level
    for name, loss in losses.items():
        if finals[name].cells[0].recipe_name == UNTUNED:
            continue  # in another setting: it has nothing to learn
        row = replace(
            key(plan, finals[name], "gain_share", "", "none", 0.0),
            suite=plan.test_name,
        )
        rows.append(EstimateRow(row, _share(untuned, reference, finals[name], loss, level)))
    return tuple(rows)


def _losses(finals: dict[str, Arm]) -> dict[str, Floats]:
    """Seeds × test rows × 1 of all recipes that have them; only rows that all could read.

    A recipe whose training diverged has a run without any loss: it leaves the rows to the others.
    """
    found = {name: utility(arm, "loss.jsonl", "loss") for name, arm in finals.items()}
    losses = {
        name: cube
        for name, cube in found.items()
        if cube is not None and not np.isnan(cube).all(axis=(1, 2)).any()
    }
    read = [~np.isnan(loss).any(axis=(0, 2)) for loss in losses.values()]
    together = np.logical_and.reduce(read)
    return {name: loss[:, together] for name, loss in losses.items()} if together.any() else {}


def labelled(rows: tuple[EstimateRow, ...]) -> dict[str, str]:
    """The recipes that kept less than `LEARNED` of the gain."""
    return {one.row.recipe: LABEL for one in rows if one.value.estimate < LEARNED}


def _share(untuned: Floats, reference: Floats, recipe: Arm, loss: Floats, level: float) -> Estimate:
    found = gain_share(untuned, reference, loss, level, fixed=recipe.fixed)
    kept = (untuned.mean() - loss.mean(axis=(1, 2))) / (untuned.mean() - reference.mean())
    ends = (float(kept.min()), float(kept.max()))
    return Estimate(found.estimate, found.low, found.high, found.n, len(loss), *ends, found.method)
