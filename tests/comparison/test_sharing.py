"""Laws of sharing a cell's decodings among workers: nothing is asked twice, left out or changed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from processes import done

from comparison.conftest import Comparison
from safeft.comparison.cells import Plan, plan
from safeft.comparison.loading import load_matrix
from safeft.comparison.sharing import shares

FOUR = "decodings={temperatures: [0, 0.7], seeds: [0, 1, 2]}"


def planned(compared: Comparison, folder: Path, *changes: str) -> Plan:
    """The small comparison, changed: five cells."""
    return plan(load_matrix(str(compared.matrix), [FOUR, *changes]), folder)


@pytest.mark.parametrize("workers", [10, 11, 15, 64])
def test_shares_are_what_the_cells_ask(compared: Comparison, tmp_path: Path, workers: int) -> None:
    """Together they are every epoch under every decoding once, in as many parts as there is use."""
    here = planned(compared, tmp_path, f"workers={workers}")
    found = shares(here, here.cells)
    asked = Counter(
        (cell.folder, ask.epoch, one.name) for cell, ask in found for one in ask.decodings
    )
    whole = [(cell, ask) for cell in here.cells for ask in here.asks(cell)]
    assert asked == Counter(
        (cell.folder, ask.epoch, one.name) for cell, ask in whole for one in ask.decodings
    )
    spare = workers // len(here.cells)
    assert len(found) == sum(min(spare, len(ask.decodings)) for _, ask in whole)


@pytest.mark.parametrize("change", ["workers=9", "workers=null", "quantization=int8"])
def test_nothing_is_shared_without_workers_to_spare(
    compared: Comparison, tmp_path: Path, change: str
) -> None:
    """Nor where two workers would write the same merged weights."""
    changes = [change] if change.startswith("workers") else [change, "workers=64"]
    here = planned(compared, tmp_path, *changes)
    assert shares(here, here.cells) == []


def test_workers_change_no_answer(tmp_path: Path) -> None:
    """One worker or two: the same files, to the letter."""
    asked = ("--per-category", 1, "--decoding-seeds", "0,1", "--temperatures", "0,1")
    asked += ("--batch-size", 20)
    files: list[dict[str, str]] = []
    for workers in (1, 2):
        output = tmp_path / str(workers)
        done("eval", "testbed:aligned", *asked, "--workers", workers, "--output", output)
        texts = {str(path.relative_to(output)): path for path in output.rglob("epoch-0/**/*.jsonl")}
        config = json.loads((output / "manifest.json").read_text())["config"]
        assert config["comparison"]["batch_size"] == 20
        files.append({name: path.read_text() for name, path in texts.items()})
    assert files[0] == files[1]
    assert len(files[0]) == 3 * 2 * 3  # decodings; harm and look-alikes; answers and two judges
