"""Did a recipe learn? Its share of the reference's gain in held-out loss."""

from __future__ import annotations

import numpy as np

from safeft.comparison.cells import Plan
from safeft.comparison.matrix import UNTUNED
from safeft.comparison.readings import Floats, last, utility
from safeft.records import Estimate, EstimateRow, Row

LEARNED = 0.2  # below this share of the gain a recipe is labelled
LABEL = "did not learn"
DRAWS = 4000


def learned(plan: Plan) -> tuple[EstimateRow, ...]:
    """`gain_share` for each recipe: (untuned − recipe) / (untuned − reference) in held-out loss.

    The interval is a crossed bootstrap over training seeds and test rows; few seeds make it narrow.
    """
    finals = last(plan)
    losses = {name: utility(arm, "loss.jsonl", "loss") for name, arm in finals.items()}
    untuned, reference = losses.get(UNTUNED), losses.get(plan.matrix.reference)
    if untuned is None or reference is None or plan.matrix.reference == UNTUNED:
        return ()
    rows = []
    for name, loss in losses.items():
        if loss is not None and name not in (UNTUNED, plan.matrix.reference):
            value = _share(untuned[0, :, 0], reference[:, :, 0], loss[:, :, 0], plan.matrix.level)
            row = Row(
                recipe=name,
                model=plan.matrix.model,
                data=plan.matrix.data or "none",
                policy="none",
                engine="transformers",
                suite=plan.matrix.test_data or "none",
                metric="gain_share",
                judge="none",
                epoch=finals[name].epoch,
                temperature=0.0,
            )
            rows.append(EstimateRow(row, value))
    return tuple(rows)


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
