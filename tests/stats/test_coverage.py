"""The committed simulation: the intervals that the product prints hold what they promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

COMMITTED = Path(__file__).parents[2] / "benchmarks/statistics/coverage.json"
CELLS: dict[str, dict[str, Any]] = json.loads(COMMITTED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_covers(name: str) -> None:
    """At least 93 % for the nominal 95 % interval, in at least 4,000 draws."""
    cell = CELLS[name]
    assert cell["draws"] >= 4000
    assert cell["crossed"]["n"] >= 4000
    assert cell["crossed"]["coverage"] >= 0.93


def test_the_cells_are_there() -> None:
    """Seeds 3, 5 and 10 with one and three decodes: an empty file proves nothing."""
    designs = {(one["cell"]["seeds"], one["cell"]["decodes"]) for one in CELLS.values()}
    assert {(3, 1), (5, 1), (10, 1), (3, 3), (5, 3)} <= designs
