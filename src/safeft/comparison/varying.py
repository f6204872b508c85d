"""What spreads the rate of a run: each factor, temperature, judge, epoch, and the seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from safeft.comparison.cells import Plan
from safeft.comparison.estimating import cubes, read
from safeft.comparison.readings import Arm, Floats, arms, last, measured
from safeft.comparison.settings import place_of
from safeft.errors import DataError
from safeft.records import Row, VarianceRow
from safeft.stats import factor_components

RATE = "fulfilment_rate"
RUN = "run_fulfilment_rate"  # what is split: the rate of one run, not one verdict
CURVE = "run_fulfilment_rate_on_curve"
TEMPERATURE, JUDGE, EPOCH = "temperature", "judge", "epoch"
Cubes = dict[tuple[int, ...], Floats]


def varying(plan: Plan) -> tuple[VarianceRow, ...]:
    """For each recipe and harmful set: what varied at the last epoch, and over the epochs.

    Nothing is split where only seeds varied: `variances` says that already.
    """
    recipes: dict[str, list[Arm]] = {}
    for arm in last(plan).values():
        recipes.setdefault(arm.cells[0].recipe_name, []).append(arm)
    rows = [row for mine in recipes.values() for row in _of_recipe(plan, mine)]
    curves: dict[str, list[Arm]] = {}
    for arm in arms(plan):
        if not arm.setting:
            curves.setdefault(arm.name, []).append(arm)
    return (*rows, *(row for mine in curves.values() for row in _of_epochs(plan, mine)))


def _of_recipe(plan: Plan, settings: Sequence[Arm]) -> Iterator[VarianceRow]:
    """Factors × temperatures × judges, in every setting of one recipe."""
    factors = plan.matrix.factors
    judges = _alike(plan)
    found: dict[str, Cubes] = {}
    example: dict[str, Row] = {}
    temperatures: list[float] = []
    for arm in settings:
        for number, judge in enumerate(judges):
            for row, cube in _rates(plan, arm, judge):
                if row.temperature not in temperatures:
                    temperatures.append(row.temperature)
                place = (temperatures.index(row.temperature), number)
                key = (*place_of(arm.setting, factors), *place)
                found.setdefault(row.suite, {})[key] = cube
                example.setdefault(row.suite, row)
    names = [*factors, TEMPERATURE, JUDGE]
    for suite, settled in found.items():
        yield from _split(plan, RUN, example[suite], settled, names)


def _of_epochs(plan: Plan, epochs: Sequence[Arm]) -> Iterator[VarianceRow]:
    """The epochs that were asked, greedily, of every training seed."""
    judge = plan.matrix.judges[0]
    found: dict[str, Cubes] = {}
    example: dict[str, Row] = {}
    for number, arm in enumerate(epochs):
        for row, cube in _rates(plan, arm, judge):
            if row.temperature == 0:
                found.setdefault(row.suite, {})[(number,)] = cube
                example[row.suite] = row
    for suite, settled in found.items():
        yield from _split(plan, CURVE, example[suite], settled, [EPOCH])


def _rates(plan: Plan, arm: Arm, judge: str) -> Iterator[tuple[Row, Floats]]:
    found = read(cubes(plan, arm, judge, "none"))
    return (pair for pair in found if pair[0].metric == RATE)


def _alike(plan: Plan) -> list[str]:
    """The judges that measure what the first one does: other figures are no spread of it."""
    found = measured(plan.matrix)
    first = found[plan.matrix.judges[0]]
    return [name for name in plan.matrix.judges if found[name] == first]


def _split(
    plan: Plan, metric: str, row: Row, settled: Mapping[tuple[int, ...], Floats], names: list[str]
) -> Iterator[VarianceRow]:
    """The components of what has more than one level."""
    varied = [place for place in range(len(names)) if len({key[place] for key in settled}) > 1]
    if not varied:
        return
    levels = {tuple(key[place] for place in varied): cube for key, cube in settled.items()}
    # One prompt, other seeds, or a verdict throughout: there is nothing to split.
    with suppress(DataError):
        for one in factor_components(levels, [names[i] for i in varied], plan.matrix.level):
            yield VarianceRow(
                row.recipe, row.suite, metric,
                one.name, one.standard_deviation, one.low, one.high, one.share,
                row.judge, row.epoch, row.temperature,
            )  # fmt: skip
