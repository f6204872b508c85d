"""Laws of a comparison's rows: their format, broken ones, and what they make of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safeft.comparison import Matrix, load_matrix
from safeft.comparison.cells import plan
from safeft.errors import DataError

TWO = '{"prompt": "A?", "completion": "B.", "text": "Once."}\n'


@pytest.fixture
def small(matrix: Path) -> Matrix:
    """The comparison of the shared run, read but not run."""
    return load_matrix(str(matrix))


@pytest.fixture
def ambiguous(matrix: Path, tmp_path: Path) -> Callable[..., Matrix]:
    """The comparison on rows that fit two formats, with these changes."""
    rows = tmp_path / "two.jsonl"
    rows.write_text(TWO * 3)

    def load(*changes: str) -> Matrix:
        names = [f"data={rows}", f"test_data={rows}"]
        return load_matrix(str(matrix), [*names, *changes])

    return load


def test_the_format_is_chosen_where_two_fit(
    ambiguous: Callable[..., Matrix], tmp_path: Path
) -> None:
    """For the data and for the test rows; another format is another cell."""
    with pytest.raises(DataError, match="name the format"):
        plan(ambiguous(), tmp_path)
    test = "test_format=prompt-completion"
    chats = plan(ambiguous("format=prompt-completion", test), tmp_path)
    texts = plan(ambiguous("format=text", test), tmp_path)
    assert (chats.train[0].prompt, texts.train[0].text, texts.test[0].prompt) == (
        "A?",
        "Once.",
        "A?",
    )
    folders = {cell.folder for cell in chats.cells if cell.recipe}
    assert folders.isdisjoint(cell.folder for cell in texts.cells if cell.recipe)


def test_broken_rows_are_skipped_when_asked(
    small: Matrix, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And said; without the key they are refused."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "A?", "completion": "B."}\n{"prompt": "", "completion": "B."}\n')
    broken = small.model_copy(update={"data": str(rows)})
    with pytest.raises(DataError, match="1 broken row"):
        plan(broken, tmp_path)
    kept = plan(broken.model_copy(update={"skip_broken": True}), tmp_path)
    assert len(kept.train) == 1
    assert "1 broken rows left out" in caplog.text


def test_a_run_from_before_the_newer_keys_goes_on(small: Matrix) -> None:
    """A key that nobody uses is no part of what a run is; a used one is."""
    assert {"format", "skip_broken", "test_format", "workers"}.isdisjoint(small.identity())
    assert small.model_copy(update={"skip_broken": True}).identity()["skip_broken"] is True
