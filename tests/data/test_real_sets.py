"""Published sets load as they are; skipped where the checkout has no ../shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from safeft.data import load, sift

SHARED = Path(__file__).parents[3] / "shared" / "data"
SETS = [
    ("dolly_15k/dolly_15k.jsonl", "dolly", 15_011, 0),
    ("medquad/medquad.jsonl", "question-answer", 16_407, 0),
    ("gsm8k/train.jsonl", "question-answer", 7_473, 0),
    # The published Alpaca set has a few rows with an empty output.
    ("alpaca_subset/alpaca_5000.json", "alpaca", 5_000, 2),
]


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not in this checkout")
@pytest.mark.parametrize(("name", "format", "rows", "broken"), SETS)
def test_a_published_set_loads(name: str, format: str, rows: int, broken: int) -> None:
    """Every row becomes an example with an answer, or is named as broken."""
    source = load(str(SHARED / name))
    good, problems = sift(source)
    assert (source.format, len(source.rows), len(problems)) == (format, rows, broken)
    assert len(good) == rows - broken
    assert all(item.messages[-1].role == "assistant" for item in good)
