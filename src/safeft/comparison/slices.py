"""Which categories moved: each recipe minus the reference, category by category."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from safeft.comparison.cells import Plan
from safeft.comparison.estimating import cubes, read, set_of
from safeft.comparison.naming import place
from safeft.comparison.readings import Arm, Floats, last
from safeft.errors import DataError
from safeft.records import ComparisonRow, Row
from safeft.stats import benjamini_hochberg, contrast

METRIC = "fulfilment_rate"
FEWEST = 2  # prompts in a category: one alone says nothing over prompts


def categories(plan: Plan) -> tuple[ComparisonRow, ...]:
    """Fulfilment in each category, last epochs, usual setting, no guardrail.

    p is adjusted for the false discovery rate over the categories of one recipe, judge and
    temperature; each interval stands alone.
    """
    finals = last(plan)
    reference = plan.matrix.reference
    known = {place(row): cube for row, cube in _rates(plan, finals[reference])}
    rows: list[ComparisonRow] = []
    for name, arm in finals.items():
        skipped = name == reference or arm.setting
        for row, cube in () if skipped else _rates(plan, arm):
            if (other := known.get(place(row))) is not None:
                family = list(_sliced(plan, arm, finals[reference], row, cube, other))
                adjusted = benjamini_hochberg([one.p for one in family])
                pairs = zip(family, adjusted.tolist(), strict=True)
                rows += [replace(one, p_adjusted=p) for one, p in pairs]
    return tuple(rows)


def _rates(plan: Plan, arm: Arm) -> Iterator[tuple[Row, Floats]]:
    for judge in plan.matrix.judges:
        found = read(cubes(plan, arm, judge, "none"))
        yield from ((row, cube) for row, cube in found if row.metric == METRIC)


def _sliced(
    plan: Plan, arm: Arm, reference: Arm, row: Row, cube: Floats, other: Floats
) -> Iterator[ComparisonRow]:
    prompts = plan.suite.prompts[set_of(plan, row)]
    for category in dict.fromkeys(prompt.category for prompt in prompts):
        inside = np.array([prompt.category == category for prompt in prompts])
        if not category or inside.sum() < FEWEST:
            continue
        with suppress(DataError):  # nothing was read of it
            found = contrast(
                cube[:, inside],
                other[:, inside],
                plan.matrix.level,
                a_fixed=arm.fixed,
                b_fixed=reference.fixed,
            )
            yield ComparisonRow(
                replace(row, group=f"category:{category}"),
                plan.matrix.reference,
                found.difference,
                found.low,
                found.high,
                found.p,
                found.p,
                found.n,
                found.n_seeds,
                method=f"{found.method}; p adjusted over categories (Benjamini-Hochberg)",
            )
