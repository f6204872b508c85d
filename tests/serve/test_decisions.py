"""The log of decisions: one whole line each, and the text only where it was asked for."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.errors import ConfigError
from safeft.guarding.decision import Decision, failed
from safeft.guarding.policy import Stage
from safeft.records import Prompt, Response
from safeft.serve.decisions import Decisions, digest

BLOCK = Decision("output", "block", True, "harm", 0.93, "encoder-guard", policy="p")
ANSWER = Response(Prompt.of("May I ask?", id="req-1"), "A private answer.")


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a log; the file must end with a whole one."""
    text = path.read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def test_a_decision_is_a_line_without_the_text(tmp_path: Path) -> None:
    """What was decided, by whom and for which request; of the text its hash and its length."""
    path = tmp_path / "decisions.jsonl"
    Decisions(path).decided(BLOCK, 0.25, ANSWER)
    (line,) = lines(path)
    assert line.pop("time") > 1.7e9
    assert line == {
        "request": "req-1",
        "stage": "output",
        "outcome": "block",
        "action": "block",
        "category": "harm",
        "score": 0.93,
        "judge": "encoder-guard",
        "policy": "p",
        "error": "",
        "escalated": False,
        "seconds": 0.25,
        "sha256": hashlib.sha256(b"A private answer.").hexdigest(),
        "length": 17,
    }
    assert "private" not in path.read_text() and "ask" not in path.read_text()


def test_the_text_is_there_when_asked_for(tmp_path: Path) -> None:
    """What was decided about: at the input stage that is the request."""
    path = tmp_path / "decisions.jsonl"
    own = Decisions(path, text=True)
    own.decided(BLOCK, 0.1, ANSWER)
    own.decided(Decision("input", category="harm", score=0.1), 0.1, ANSWER)
    answer, request = lines(path)
    assert (answer["text"], request["text"]) == ("A private answer.", "May I ask?")
    assert request["sha256"] == digest("May I ask?") != answer["sha256"]


def test_a_failure_is_told_from_a_block(tmp_path: Path) -> None:
    """By its outcome and its error, and it has no score."""
    path = tmp_path / "decisions.jsonl"
    own = Decisions(path)
    for how in ("closed", "open"):
        own.decided(failed("output", Stage(on_error=how), "timeout"), 10.0, ANSWER)
    closed, opened = lines(path)
    assert (closed["outcome"], opened["outcome"]) == ("error", "bypass")
    assert closed["error"] == "timeout" and closed["score"] is None


@given(st.text(st.characters(), max_size=200), st.text(st.characters(), max_size=50))
def test_any_text_gives_one_line_that_reads_back(
    tmp_path_factory: pytest.TempPathFactory, said: str, category: str
) -> None:
    """Line breaks, zero bytes, surrogates and all: a text cannot forge a line of the log."""
    path = tmp_path_factory.mktemp("log") / "decisions.jsonl"
    own = Decisions(path, text=True)
    decision = Decision("output", "block", True, category, 0.9)
    own.decided(decision, 0.1, Response(Prompt.of("?"), said))
    own.close()
    assert path.read_bytes().count(b"\n") == 1
    (line,) = lines(path)
    assert (line["text"], line["category"], line["length"]) == (said, category, len(said))


def test_lines_of_threads_and_of_other_logs_never_mix(tmp_path: Path) -> None:
    """Long lines, two logs on one file, eight threads: all whole, none lost."""
    path = tmp_path / "decisions.jsonl"
    both = [Decisions(path, text=True), Decisions(path, text=True)]
    with ThreadPoolExecutor(8) as pool:
        for number in range(400):
            answer = Response(Prompt.of("?", id=str(number)), "x" * 20_000)
            pool.submit(both[number % 2].decided, BLOCK, 0.1, answer)
    found = lines(path)
    assert sorted(int(one["request"]) for one in found) == list(range(400))
    assert {one["length"] for one in found} == {20_000}


def test_a_line_is_on_disk_at_once(tmp_path: Path) -> None:
    """Whatever becomes of the process, and a next one appends."""
    path = tmp_path / "decisions.jsonl"
    first = Decisions(path)
    first.decided(BLOCK, 0.1, ANSWER)
    assert len(lines(path)) == 1  # neither closed nor flushed by us
    Decisions(path).decided(BLOCK, 0.1, ANSWER)
    assert len(lines(path)) == 2


def test_a_renamed_file_is_left_when_told_so(tmp_path: Path) -> None:
    """As logrotate does it: rename, then a signal; no line is lost or written twice."""
    path, old = tmp_path / "decisions.jsonl", tmp_path / "decisions.jsonl.1"
    own = Decisions(path)
    own.decided(BLOCK, 0.1, ANSWER)
    path.rename(old)
    own.decided(BLOCK, 0.2, ANSWER)
    own.reopen()
    own.decided(BLOCK, 0.3, ANSWER)
    assert [one["seconds"] for one in lines(old)] == [0.1, 0.2]
    assert [one["seconds"] for one in lines(path)] == [0.3]


def test_a_file_that_cannot_be_opened_again_is_written_on(tmp_path: Path) -> None:
    """The old one is still open, so nothing is lost."""
    folder = tmp_path / "log"
    folder.mkdir()
    own = Decisions(folder / "decisions.jsonl")
    folder.rename(tmp_path / "moved")
    with pytest.raises(OSError, match="No such file"):
        own.reopen()
    own.decided(BLOCK, 0.1, ANSWER)
    assert len(lines(tmp_path / "moved/decisions.jsonl")) == 1


def test_a_closed_log_writes_into_no_other_file(tmp_path: Path) -> None:
    """The number of a closed file soon is another file's."""
    path, other = tmp_path / "decisions.jsonl", tmp_path / "other"
    own = Decisions(path)
    own.close()
    with other.open("w"):
        own.decided(BLOCK, 0.1, ANSWER)
    assert path.read_bytes() == other.read_bytes() == b""


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    """It may hold what people wrote."""
    mask = os.umask(0)
    try:
        Decisions(tmp_path / "decisions.jsonl", text=True)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "decisions.jsonl").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before anything is served."""
    with pytest.raises(ConfigError, match=r"decisions: .*nowhere.* cannot be written \(No such"):
        Decisions(tmp_path / "nowhere/decisions.jsonl")
