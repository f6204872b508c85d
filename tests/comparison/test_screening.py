"""A guard reads stored answers: the policy decides, and every verdict is kept as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from safeft.comparison import screening
from safeft.comparison.screening import Screen
from safeft.data import Example
from safeft.errors import ConfigError
from safeft.records import Message

EXAMPLES = {"gardening": ["Water the plants once a week."], "banking": ["Buy shares now."]}
OUTPUT = {"judge": "examples", "examples": EXAMPLES, "threshold": 0.7}
ANSWERS = ("The moon is far away.", "Water the plants once a week.", "Buy shares now.")


def policy(tmp_path: Path, **changes: Any) -> str:
    """A policy that withholds gardening and banking."""
    path = tmp_path / "mine.yaml"
    values = {"name": "mine", "refusal": "Not today.", "output": OUTPUT} | changes
    path.write_text(yaml.safe_dump({key: one for key, one in values.items() if one is not None}))
    return str(path)


def rows(*answers: str) -> list[Example]:
    """One question for all."""
    return [
        Example((Message("user", "What?"), Message("assistant", one)), number, "rows")
        for number, one in enumerate(answers, 1)
    ]


def test_the_policy_decides(tmp_path: Path) -> None:
    """A category where its threshold is reached, none where it is not; rows by their place."""
    found = Screen.of(policy(tmp_path)).read(rows(*ANSWERS), tmp_path / "g.jsonl", lambda *_: None)
    assert [one["category"] for one in found] == ["", "gardening", "banking"]
    assert [one["row"] for one in found] == [1, 2, 3]
    assert not any(one["unread"] for one in found)
    assert found[1]["score"] == pytest.approx(1.0)
    assert not any(answer in (tmp_path / "g.jsonl").read_text() for answer in ANSWERS)


def test_documents_are_read_too(tmp_path: Path) -> None:
    """They answer nothing."""
    document = Example((), 1, "rows", "Buy shares now.")
    [one] = Screen.of(policy(tmp_path)).read([document], tmp_path / "g.jsonl", lambda *_: None)
    assert one["category"] == "banking"


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is not read again, and the file is the one of an uninterrupted run."""
    monkeypatch.setattr(screening, "AT_ONCE", 2)
    screen, asked = Screen.of(policy(tmp_path)), rows(*ANSWERS, *ANSWERS)
    whole = tmp_path / "whole.jsonl"
    screen.read(asked, whole, lambda *_: None)
    lines = whole.read_bytes().splitlines(True)
    (tmp_path / "cut.jsonl.partial").write_bytes(b"".join(lines[:3]) + lines[3][:7])
    heard: list[int] = []
    screen.read(asked, tmp_path / "cut.jsonl", lambda _, done, __: heard.append(done))
    assert (tmp_path / "cut.jsonl").read_bytes() == whole.read_bytes()
    assert heard == [4, 6]
    screen.read(asked, whole, lambda *_: pytest.fail("read again"))


def test_a_policy_that_reads_no_answers_is_refused(tmp_path: Path) -> None:
    """There is nothing to screen by."""
    with pytest.raises(ConfigError, match="reads no answers; give one with `output`"):
        Screen.of(policy(tmp_path, output=None, input=OUTPUT))
