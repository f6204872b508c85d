"""Eight recipes against one baseline: seldom does any comparison find what is not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

COMMITTED = Path(__file__).parents[2] / "benchmarks/statistics/familywise.json"
CELLS: dict[str, dict[str, Any]] = json.loads(COMMITTED.read_text(encoding="utf-8"))
STUDIES = 400


@pytest.fixture
def familywise(simulation: Callable[[str], ModuleType]) -> ModuleType:
    """The script that wrote the committed cells."""
    return simulation("familywise")


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_keeps_its_family(name: str) -> None:
    """A false finding in at most 6 % of 4,000 studies or more, by p and by interval."""
    cell = CELLS[name]
    assert cell["draws"] >= 4000
    assert cell["holm"]["n"] == cell["intervals"]["n"] == cell["draws"]
    assert cell["holm"]["share"] <= 0.06 and cell["intervals"]["share"] <= 0.06


def test_the_grid_is_there(familywise: ModuleType) -> None:
    """Every cell of the script, equal and unequal spreads: an empty file proves nothing."""
    assert set(CELLS) == {familywise.stored.key(cell) for cell in familywise.cells()}
    designs = {(one["cell"]["seeds"], one["cell"]["spread"]) for one in CELLS.values()}
    usual = [
        (seeds, spread) for seeds in (3, 5, 10) for spread in ("4.3 pp each", "baseline noisy")
    ]
    assert set(usual) <= designs


@pytest.mark.parametrize(("spread", "seeds"), [("4.3 pp each", 5), ("baseline noisy", 3)])
def test_fresh_studies_keep_their_family(familywise: ModuleType, spread: str, seeds: int) -> None:
    """400 studies: 7 % at most, where the same p without adjustment find something in over 9 %."""
    found = familywise.measure(familywise.Cell(seeds, 1, spread), STUDIES, seed=1)
    assert found["holm"]["share"] <= 0.07 and found["intervals"]["share"] <= 0.07
    assert found["unadjusted"]["share"] > 0.09
