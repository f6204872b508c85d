"""How often do 95 % intervals for recipe A minus recipe B hold the truth?

    PYTHONPATH=src python benchmarks/statistics/coverage.py        (ten minutes on one busy core)

Writes coverage.json cell by cell, so a killed run goes on where it stopped, and coverage.md.
A cell is skipped only when its settings, draws and seed are the same; delete the file to redo all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simulation
import stored

from safeft.stats import contrast

Z = 1.959964
REFERENCE_RATE = 0.40
METHODS = {
    "crossed": "safeft `contrast`",
    "miller": "paired, prompt-clustered z (Miller 2024)",
    "nested": "prompts, then runs within prompt (variance of the nested bootstrap)",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One simulated design. Both recipes spread alike; the second is one given model if fixed."""

    seeds: int
    decodes: int
    run_sd: float
    difference: float
    reference_fixed: bool = False
    prompts: int = 440


@dataclass(frozen=True, slots=True)
class Bars:
    """The estimated difference and each method's half width."""

    difference: float
    half: dict[str, float]


def cells() -> Iterator[Cell]:
    """The grid, the comparison with an un-tuned model (fixed, one seed), and five decodes."""
    run_sds, differences = (0.021, 0.043, 0.070), (0.0, 0.116)
    for seeds, run_sd, decodes, difference in itertools.product(
        (3, 5, 10), run_sds, (1, 3), differences
    ):
        yield Cell(seeds, decodes, run_sd, difference)
    for seeds, run_sd in itertools.product((3, 5, 10), run_sds):
        yield Cell(seeds, 1, run_sd, 0.116, reference_fixed=True)
    for run_sd, difference in itertools.product(run_sds, differences):
        yield Cell(5, 5, run_sd, difference)


def bars(a_SPK: simulation.Floats, b_SPK: simulation.Floats, fixed: bool) -> Bars:
    """The three intervals of one draw, as half widths."""
    crossed = contrast(a_SPK, b_SPK, b_fixed=fixed)
    a_SP, b_SP = a_SPK.mean(axis=2), b_SPK.mean(axis=2)
    prompts = a_SP.shape[1]
    clustered = float((a_SP.mean(axis=0) - b_SP.mean(axis=0)).var(ddof=1)) / prompts
    # A bootstrap of prompts, then of runs within each prompt, has this variance exactly.
    within = sum(float((y.var(axis=0) / len(y)).sum()) / prompts**2 for y in (a_SP, b_SP))
    return Bars(
        crossed.difference,
        {
            "crossed": (crossed.high - crossed.low) / 2,
            "miller": Z * math.sqrt(clustered),
            "nested": Z * math.sqrt(clustered + within),
        },
    )


def simulate(cell: Cell, generator: np.random.Generator) -> Iterator[Bars]:
    """Draws of one cell without end."""
    a = simulation.solve(REFERENCE_RATE - cell.difference, cell.run_sd)
    b = simulation.solve(REFERENCE_RATE, 0.0 if cell.reference_fixed else cell.run_sd)
    seeds = 1 if cell.reference_fixed else cell.seeds
    while True:
        prompt_P = simulation.prompts(cell.prompts, generator)
        a_SPK = simulation.draw(a, prompt_P, cell.seeds, cell.decodes, generator)
        b_SPK = simulation.draw(b, prompt_P, seeds, cell.decodes, generator)
        yield bars(a_SPK, b_SPK, cell.reference_fixed)


def measure(cell: Cell, draws: int, seed: int) -> dict[str, Any]:
    """Coverage of each method in one cell, with its Wilson interval, and the mean half width."""
    drawn = list(itertools.islice(simulate(cell, stored.generator(cell, seed)), draws))
    record: dict[str, Any] = {}
    for method in METHODS:
        held = sum(abs(one.difference + cell.difference) <= one.half[method] for one in drawn)
        found = stored.share(held, draws)
        half_width = float(np.mean([one.half[method] for one in drawn]))
        record[method] = {"coverage": found.pop("share"), **found, "half_width": half_width}
    return record


def table(records: list[dict[str, Any]]) -> str:
    """coverage.md: one line per cell."""
    head = "| seeds | decodes | run SD | true difference | B is | " + " | ".join(METHODS)
    lines = [head + " | half width of crossed |", "|---" * (6 + len(METHODS)) + "|"]
    for record in records:
        cell = record["cell"]
        coverages = [
            "{coverage:.3f} [{low:.3f}, {high:.3f}]".format(**record[name]) for name in METHODS
        ]
        lines.append(
            f"| {cell['seeds']} | {cell['decodes']} | {100 * cell['run_sd']:.1f} pp "
            f"| {-100 * cell['difference'] or 0:.1f} pp "
            f"| {'one model' if cell['reference_fixed'] else 'a recipe'} "
            f"| {' | '.join(coverages)} | {100 * record['crossed']['half_width']:.1f} pp |"
        )
    return "\n".join(lines)


def page(records: list[dict[str, Any]]) -> str:
    """The whole coverage.md."""
    names = "\n".join(f"- `{name}`: {meaning}" for name, meaning in METHODS.items())
    draws = min(record["draws"] for record in records)
    found = {name: [record[name]["coverage"] for record in records] for name in METHODS}
    ends = (f"{name} {min(held):.3f} to {max(held):.3f}" for name, held in found.items())
    return (
        "# Coverage of nominal 95 % intervals for recipe A - recipe B\n\n"
        f"Simulated: 440 prompts, {draws:,} draws a cell, Wilson's 95 % interval beside each "
        "coverage; binary verdicts from a logistic model with prompt, recipe × prompt, run and "
        "run × prompt effects (`simulation.py`), B's rate 40 %. The truth is the difference over "
        "fresh runs and fresh prompts; where B is one model, that model stays. Written by "
        "`coverage.py`.\n\n"
        f"{names}\n\n"
        f"Lowest to highest coverage of all cells: {', '.join(ends)}.\n\n"
        f"{table(records)}\n"
    )


if __name__ == "__main__":
    stored.run("coverage", __doc__, cells(), measure, page)
