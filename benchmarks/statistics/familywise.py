"""How often does a comparison of eight recipes with one baseline find a difference that is not?

    PYTHONPATH=src python benchmarks/statistics/familywise.py      (fifteen minutes on one busy core)

Writes familywise.json cell by cell, so a killed run goes on where it stopped, and familywise.md.
A cell is skipped only when its settings, draws and seed are the same; delete the file to redo all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import simulation
import stored

from safeft.stats import Simultaneous, simultaneous

RATE, DIFFERENCE = 0.40, 0.116
# Run SDs, the baseline's first. `noisy` and the recipes of `calm` are those of evaluation.md, §2b.
MIXED = (0.02, 0.02, 0.02, 0.04, 0.04, 0.04, 0.06, 0.06)
SPREADS = {
    "2.1 pp each": (0.021,) * 9,
    "4.3 pp each": (0.043,) * 9,
    "7.0 pp each": (0.070,) * 9,
    "baseline noisy": (0.070, *MIXED),
    "baseline calm": (0.020, *MIXED),
    "baseline is one model": (0.0, *(0.043,) * 8),
}
ERRORS = {
    "holm": "a Holm-adjusted p below 0.05 of a recipe that does not differ",
    "intervals": "a simultaneous 95 % interval that misses the true difference",
    "unadjusted": "a p below 0.05, not adjusted, of a recipe that does not differ",
}
ENDS = ("share", "low", "high")


@dataclass(frozen=True, slots=True)
class Cell:
    """One simulated design. The first `differing` recipes are 11.6 pp under the baseline."""

    seeds: int
    decodes: int
    spread: str
    differing: int = 0
    prompts: int = 440


def cells() -> Iterator[Cell]:
    """The grid without any difference, decodes, a fixed baseline, and one recipe that differs."""
    usual = ("4.3 pp each", "baseline noisy")
    for spread, seeds in itertools.product(usual, (3, 5, 10)):
        yield Cell(seeds, 1, spread)
    for spread, seeds in itertools.product(usual, (3, 5)):
        yield Cell(seeds, 1, spread, differing=1)
    for spread in usual:
        yield Cell(5, 5, spread)
    for spread, seeds in itertools.product(SPREADS, (3, 5, 10)):
        if spread not in usual:
            yield Cell(seeds, 1, spread)
    for spread, seeds in itertools.product(usual, (3, 5)):
        yield Cell(seeds, 3, spread)


@cache
def arms(cell: Cell) -> tuple[simulation.Arm, ...]:
    """The baseline and its recipes."""
    baseline, *recipes = SPREADS[cell.spread]
    lowered = [RATE - DIFFERENCE] * cell.differing + [RATE] * (len(recipes) - cell.differing)
    solved = (simulation.solve(*pair) for pair in zip(lowered, recipes, strict=True))
    return (simulation.solve(RATE, baseline), *solved)


def study(cell: Cell, generator: np.random.Generator) -> dict[str, Simultaneous]:
    """One comparison of all recipes, numbered from 0, with the baseline."""
    baseline, *recipes = arms(cell)
    fixed = baseline.run_sd == 0
    prompt_P = simulation.prompts(cell.prompts, generator)

    def draw(arm: simulation.Arm, seeds: int) -> simulation.Floats:
        return simulation.draw(arm, prompt_P, seeds, cell.decodes, generator)

    reference_SPK = draw(baseline, 1 if fixed else cell.seeds)
    drawn = {str(number): draw(arm, cell.seeds) for number, arm in enumerate(recipes)}
    return simultaneous(drawn, reference_SPK, reference_fixed=fixed)


def errors(cell: Cell, family: Mapping[str, Simultaneous]) -> dict[str, bool]:
    """Which kinds of error one study makes."""
    equal = [one for name, one in family.items() if int(name) >= cell.differing]
    truths = [-DIFFERENCE if int(name) < cell.differing else 0.0 for name in family]
    pairs = zip(family.values(), truths, strict=True)
    return {
        "holm": any(one.p_adjusted < 0.05 for one in equal),
        "intervals": any(
            not one.contrast.low <= truth <= one.contrast.high for one, truth in pairs
        ),
        "unadjusted": any(one.contrast.p < 0.05 for one in equal),
    }


def measure(cell: Cell, draws: int, seed: int) -> stored.Record:
    """The share of studies with each kind of error, with Wilson's interval."""
    generator = stored.generator(cell, seed)
    found = [errors(cell, study(cell, generator)) for _ in range(draws)]
    return {kind: stored.share(sum(one[kind] for one in found), draws) for kind in ERRORS}


def table(records: list[stored.Record]) -> str:
    """One line per cell, in percent."""
    head = "| seeds | decodes | run SD | recipes that differ | " + " | ".join(ERRORS) + " |"
    lines = [head, "|---" * (4 + len(ERRORS)) + "|"]
    for record in records:
        cell = record["cell"]
        shares = [
            "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * record[kind][end] for end in ENDS))
            for kind in ERRORS
        ]
        lines.append(
            f"| {cell['seeds']} | {cell['decodes']} | {cell['spread']} | {cell['differing']} of 8 "
            f"| {' | '.join(shares)} |"
        )
    return "\n".join(lines)


def page(records: list[stored.Record]) -> str:
    """The whole familywise.md."""
    names = "\n".join(f"- `{kind}`: {meaning}" for kind, meaning in ERRORS.items())
    draws = min(record["draws"] for record in records)
    found = {kind: [100 * record[kind]["share"] for record in records] for kind in ERRORS}
    ends = (f"{kind} {min(made):.2f} to {max(made):.2f} %" for kind, made in found.items())
    return (
        "# Family-wise error of eight recipes against one baseline\n\n"
        f"Simulated: 440 prompts, {draws:,} studies a cell, the share of studies (in %) with at "
        "least one error and Wilson's 95 % interval; binary verdicts as in `coverage.md`, the "
        "baseline's rate 40 %, that of a recipe that differs 28.4 %. Noisy and calm baselines spread "
        "by 7 pp and 2 pp, their recipes by 2, 2, 2, 4, 4, 4, 6 and 6 pp. Written by "
        "`familywise.py`.\n\n"
        f"{names}\n\n"
        f"Lowest to highest of all cells: {', '.join(ends)}.\n\n{table(records)}\n"
    )


if __name__ == "__main__":
    stored.run("familywise", __doc__, cells(), measure, page)
