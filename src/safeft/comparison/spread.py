"""How much the runs of one recipe differ: variance components, flips, and run-to-run SD."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from safeft.comparison.cells import Plan
from safeft.comparison.estimating import cubes, read
from safeft.comparison.readings import Arm, Floats, decodings, last
from safeft.records import Estimate, EstimateRow, Row, VarianceRow
from safeft.stats import components, flip_rate, spread_ratio
from safeft.stats.intervals import Interval

RATE = "fulfilment_rate"


def variances(plan: Plan) -> tuple[VarianceRow, ...]:
    """Components of the fulfilment rate.

    Read where it shows most: the temperature with the most decoding seeds, the first judge.
    """
    rows = []
    for arm in last(plan).values():
        drawn = decodings(plan, arm)
        temperature = max(drawn, key=lambda one: (len(drawn[one]), one))
        for row, cube in _fulfilments(plan, arm, plan.matrix.judges[:1]):
            if row.temperature == temperature and _varies(cube):
                rows += [
                    VarianceRow(
                        arm.name, row.suite, RATE,
                        one.name, one.standard_deviation, one.low, one.high, one.share,
                    )
                    for one in components(cube, plan.matrix.level)
                ]  # fmt: skip
    return tuple(rows)


def stability(plan: Plan) -> tuple[EstimateRow, ...]:
    """Prompts whose verdict flips between runs, and run-to-run SDs over the reference's."""
    finals, level = last(plan), plan.matrix.level
    reference = finals[plan.matrix.reference]
    base = {_place(row): cube for row, cube in _fulfilments(plan, reference, plan.matrix.judges)}
    rows = []
    for arm in finals.values():
        for row, cube in _fulfilments(plan, arm, plan.matrix.judges):
            if cube.shape[0] * cube.shape[2] > 1:
                rows.append(_row(row, "flip_rate", flip_rate(cube, level), len(cube)))
            other = base.get(_place(row))
            if arm is not reference and other is not None and _spread(cube) and _spread(other):
                ratio = spread_ratio(cube, other, level).spread
                rows.append(_row(row, "run_sd_ratio", ratio, len(cube)))
    return tuple(rows)


def _fulfilments(plan: Plan, arm: Arm, judges: list[str]) -> Iterator[tuple[Row, Floats]]:
    """The fulfilment of each temperature and judge, without a guard."""
    for judge in judges:
        yield from (
            pair for pair in read(cubes(plan, arm, judge, "none")) if pair[0].metric == RATE
        )


def _place(row: Row) -> Row:
    return replace(row, recipe="", epoch=0)


def _row(row: Row, metric: str, value: Interval, seeds: int) -> EstimateRow:
    """A number about several runs has no smallest or largest run."""
    ends = (value.low, value.high, value.n, seeds, math.nan, math.nan, value.method)
    return EstimateRow(replace(row, metric=metric), Estimate(value.estimate, *ends))


def _varies(cube: Floats) -> bool:
    """Whether two runs or more have read two prompts or more, with different verdicts."""
    runs = ~np.isnan(cube).any(axis=(0, 2))
    return cube.shape[0] * cube.shape[2] > 1 and runs.sum() > 1 and bool(np.nanvar(cube))


def _spread(cube: Floats) -> bool:
    runs = np.nanmean(cube, axis=(1, 2))
    return len(runs) > 1 and float(np.ptp(runs)) > 0
