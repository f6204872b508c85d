"""How much the runs of one recipe differ: variance components, flips, and run-to-run SD."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from safeft.comparison.cells import Plan
from safeft.comparison.estimating import cubes, read, set_of
from safeft.comparison.naming import place
from safeft.comparison.readings import Arm, Floats, codes, decodings, labels, last
from safeft.errors import DataError
from safeft.records import Estimate, EstimateRow, Row, VarianceRow
from safeft.stats import (
    NO_INTERVAL,
    components,
    flip_rate,
    prediction_interval,
    run_means,
    run_sd,
    spread_ratio,
    stability_index,
)
from safeft.stats.intervals import Interval

RATE = "fulfilment_rate"
NO_SPREAD = f"{NO_INTERVAL}: no spread"


def variances(plan: Plan) -> tuple[VarianceRow, ...]:
    """Components of the fulfilment rate.

    Read where it shows most: the temperature with the most decoding seeds, the first judge.
    """
    rows = []
    for arm in last(plan).values():
        drawn = decodings(plan, arm)
        temperature = max(drawn, key=lambda one: (len(drawn[one]), one))
        for row, cube in _fulfilments(plan, arm, plan.matrix.judges[:1]):
            if row.temperature != temperature:
                continue
            # One run, one prompt, or one verdict throughout has nothing to split.
            with suppress(DataError):
                rows += [
                    VarianceRow(
                        arm.name, row.suite, RATE,
                        one.name, one.standard_deviation, one.low, one.high, one.share,
                        row.judge, row.epoch, row.temperature,
                    )
                    for one in components(cube, plan.matrix.level)
                ]  # fmt: skip
    return tuple(rows)


def stability(plan: Plan) -> tuple[EstimateRow, ...]:
    """Prompts whose verdict flips between runs, and run-to-run SDs over the reference's."""
    finals, level = last(plan), plan.matrix.level
    reference = finals[plan.matrix.reference]
    base = {place(row): cube for row, cube in _fulfilments(plan, reference, plan.matrix.judges)}
    rows: list[EstimateRow] = []
    for arm in finals.values():
        for row, cube in _fulfilments(plan, arm, plan.matrix.judges):
            rows += _flips(plan, arm, row)
            if len(_runs(cube)) > 1:
                coming = prediction_interval(cube, level)
                rows.append(_row(row, "fulfilment_next_run", coming, len(cube)))
            other = base.get(place(row))
            if arm is not reference and other is not None and _repeated(cube, other):
                rows.append(_row(row, "run_sd_ratio", _ratio(cube, other, level), len(cube)))
    return tuple(rows)


def _flips(plan: Plan, arm: Arm, row: Row) -> Iterator[EstimateRow]:
    """Any change of verdict between runs is a flip, from refused to broken as well.

    The stability index beside it tells one dissenting run from an even split.
    """
    draws = decodings(plan, arm)[row.temperature]
    cube = codes(labels(plan, arm, set_of(plan, row), draws, row.judge, "none"))
    with suppress(DataError):  # no prompt was read twice
        yield _row(row, "flip_rate", flip_rate(cube, plan.matrix.level), len(cube))
        yield _row(row, "stability_index", stability_index(cube, plan.matrix.level), len(cube))


def _ratio(cube: Floats, other: Floats, level: float) -> Interval:
    """The ratio of two run-to-run SDs; runs that are all equal have no spread to divide."""
    if _spread(cube) and _spread(other):
        return spread_ratio(cube, other, level)
    runs = len(_runs(cube)) + len(_runs(other))
    if _spread(other):
        return Interval(0.0, 0.0, 0.0, runs, f"{NO_SPREAD} between the recipe's runs")
    return Interval(math.nan, math.nan, math.nan, runs, f"{NO_SPREAD} between the reference's runs")


def _fulfilments(plan: Plan, arm: Arm, judges: list[str]) -> Iterator[tuple[Row, Floats]]:
    """The fulfilment of each temperature and judge, without a guard."""
    for judge in judges:
        yield from (
            pair for pair in read(cubes(plan, arm, judge, "none")) if pair[0].metric == RATE
        )


def _row(row: Row, metric: str, value: Interval, seeds: int) -> EstimateRow:
    """A number about several runs has no smallest or largest run."""
    ends = (value.low, value.high, value.n, seeds, math.nan, math.nan, value.method)
    return EstimateRow(replace(row, metric=metric), Estimate(value.estimate, *ends))


def _runs(cube: Floats) -> Floats:
    """The means of the training runs that were read."""
    means = run_means(cube)
    return means[~np.isnan(means)]


def _repeated(*cubes: Floats) -> bool:
    return min(len(_runs(cube)) for cube in cubes) > 1


def _spread(cube: Floats) -> bool:
    return run_sd(_runs(cube)) > 0
