"""The preview shows what is trained, in colour and without, and `safeft data preview` prints it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

import safeft.models
from safeft.cli.data import command as data
from safeft.data import examples, load
from safeft.data.preview import header, show
from safeft.errors import DataError

Write = Callable[[Path, list[dict[str, Any]]], Path]
ROWS = [{"question": f"Why [bold]{n}[/]?", "answer": f"So {n}.", "topic": "x"} for n in range(5)]


def _shown(path: Path, tokenizer: Any = None, colour: bool = False, **options: Any) -> str:
    source = load(str(path))
    console = Console(
        file=io.StringIO(), force_terminal=colour, color_system="truecolor" if colour else None
    )
    show(source, examples(source), console, tokenizer=tokenizer, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def path(tmp_path: Path, write: Write) -> Path:
    """Five questions whose text looks like rich markup."""
    return write(tmp_path / "set.jsonl", ROWS)


def test_the_header_says_format_size_and_unused_columns(path: Path) -> None:
    """The detected format is printed, with what identifies the data."""
    line = header(load(str(path)))
    for part in ("format question-answer (question, answer)", "5 rows", "sha256", "topic"):
        assert part in line


def test_trained_text_stands_between_marks_without_colour(path: Path, tokenizer: Any) -> None:
    """The whole rendered row is shown, the answer and its stop token marked."""
    shown = _shown(path, tokenizer, rows=2)
    assert (
        "<|im_start|>user\nWhy [bold]0[/]?<|im_end|>\n<|im_start|>assistant\n⟦So 0.<|im_end|>⟧"
        in shown
    )
    assert "⟦So 1." in shown
    assert "So 2." not in shown
    assert "set.jsonl, row 1: " in shown
    assert "0 rows truncated, 0 fully masked" in shown


def test_colour_replaces_the_marks(path: Path, tokenizer: Any) -> None:
    """On a colour terminal trained text is bold green, masked text dim, and there are no marks."""
    shown = _shown(path, tokenizer, colour=True, rows=1)
    assert "\x1b[1;32mSo 0.<|im_end|>" in shown
    assert "\x1b[2m" in shown
    assert "⟦" not in shown


def test_cut_and_masked_rows_are_named_and_counted(path: Path, tokenizer: Any) -> None:
    """A row that is cut before its answer says so, and all rows are counted, not only the shown."""
    shown = _shown(path, tokenizer, rows=1, max_length=5)
    assert "truncated, fully masked: it teaches nothing" in shown
    assert "5 rows truncated, 5 fully masked" in shown


def test_without_a_tokenizer_turns_are_shown(path: Path) -> None:
    """The turns stand after their roles, and the preview says that these are not tokens."""
    shown = _shown(path, rows=1)
    assert "user: Why [bold]0[/]?\nassistant: ⟦So 0.⟧" in shown
    assert "not tokens" in shown


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, write: Write) -> None:
    """An escape sequence in the data is shown, not obeyed."""
    shown = _shown(write(tmp_path / "set.jsonl", [{"text": "a\x1b[31mb"}]))
    assert "\x1b" not in shown
    assert "a␛[31mb" in shown
    named = [{"text": "a\x9b31mb", "\x1b[32mtopic": "x"}]
    shown = _shown(write(tmp_path / "set.jsonl", named))
    assert not {"\x1b", "\x9b"} & set(shown)
    assert "not used: ␛[32mtopic" in shown


def test_the_command_prints_the_preview(
    path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`safeft data preview DATA --model …` loads the tokenizer and shows the mask."""
    monkeypatch.setattr(
        safeft.models, "load_tokenizer", lambda name, **__: tokenizer, raising=False
    )
    options = ["preview", str(path), "--model", "tiny", "--rows", "1"]
    result = CliRunner().invoke(data, options, catch_exceptions=False)
    assert result.exit_code == 0
    assert "format question-answer" in result.output
    assert "⟦So 0.<|im_end|>⟧" in result.output


def test_the_command_can_leave_broken_rows_out(tmp_path: Path, write: Write) -> None:
    """Broken rows are an error; with --skip-broken they are named and left out."""
    path = str(write(tmp_path / "set.jsonl", [{"question": "Why?", "answer": ""}, ROWS[0]]))
    refused = CliRunner().invoke(data, ["preview", path])
    assert isinstance(refused.exception, DataError)
    result = CliRunner().invoke(data, ["preview", path, "--skip-broken"], catch_exceptions=False)
    assert "1 broken rows left out" in result.output
    assert "row 1, field 'answer'" in result.output
