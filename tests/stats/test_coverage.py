"""The committed simulation: the intervals that the product prints hold what they promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

COMMITTED = Path(__file__).parents[2] / "benchmarks/statistics/coverage.json"
PAGE = Path(__file__).parents[2] / "docs/statistics.md"
CELLS: dict[str, dict[str, Any]] = json.loads(COMMITTED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_covers(name: str) -> None:
    """At least 93 % for the nominal 95 % interval, in at least 4,000 draws."""
    cell = CELLS[name]
    assert cell["draws"] >= 4000
    assert cell["crossed"]["n"] >= 4000
    assert cell["crossed"]["coverage"] >= 0.93


def test_the_cells_are_there() -> None:
    """Seeds 3, 5 and 10 with one, three and five decodes: an empty file proves nothing."""
    designs = {(one["cell"]["seeds"], one["cell"]["decodes"]) for one in CELLS.values()}
    assert {(3, 1), (5, 1), (10, 1), (3, 3), (5, 3), (5, 5)} <= designs


@pytest.mark.parametrize("seeds", [3, 5])
def test_fresh_draws_cover(simulation: Callable[[str], ModuleType], seeds: int) -> None:
    """300 draws: 92 % at the least, where prompts without the seed term cover under 75 %."""
    coverage = simulation("coverage")
    found = coverage.measure(coverage.Cell(seeds, 1, 0.043, 0.116), 300, seed=1)
    assert found["crossed"]["coverage"] >= 0.92
    assert found["miller"]["coverage"] < 0.75


@pytest.mark.parametrize("name", ["coverage", "familywise"])
def test_the_tables_are_the_committed_ones(
    simulation: Callable[[str], ModuleType], name: str
) -> None:
    """The script's page is made from its file, and docs/statistics.md shows lines of it."""
    script = simulation(name)
    cells = json.loads(COMMITTED.with_name(f"{name}.json").read_text(encoding="utf-8"))
    page = COMMITTED.with_name(f"{name}.md").read_text(encoding="utf-8")
    assert page == script.page([cells[script.stored.key(cell)] for cell in script.cells()])
    head = next(line for line in page.splitlines() if line.startswith("| seeds"))
    shown = PAGE.read_text(encoding="utf-8").split(head)[1].strip().split("\n\n")[0].splitlines()
    assert len(shown) > 10 and set(shown) <= set(page.splitlines())
