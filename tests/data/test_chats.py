"""Laws of written chats: they read back as what they were, and say what they cannot hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.data import Example, examples, load
from safeft.data.chats import WRITTEN, chat_text, openai_text, written
from safeft.errors import ConfigError, DataError
from safeft.records import Message

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@st.composite
def chats(draw: st.DrawFn) -> Example:
    """A chat of any length, with or without a system turn."""
    turns = [Message("system", draw(WORDS))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns += [Message("user", draw(WORDS)), Message("assistant", draw(WORDS))]
    return Example(tuple(turns), 1, "rows")


@given(rows=st.lists(chats(), min_size=1, max_size=12))
def test_what_is_written_reads_back(
    rows: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Line breaks of all alphabets, quotes, and system turns included."""
    path = tmp_path_factory.mktemp("chats") / "rows.jsonl"
    path.write_text(chat_text(rows), encoding="utf-8", newline="\n")
    back = examples(load(str(path)))
    assert [one.messages for one in back] == [one.messages for one in rows]


def test_a_row_is_messages_of_role_and_content_alone() -> None:
    """As OpenAI documents it; every answer is trained, so that none has a weight."""
    chat = Example((Message("user", "A?"), Message("assistant", "Ü.")), 1, "rows")
    (line,) = chat_text([chat]).splitlines()
    first, second = {"role": "user", "content": "A?"}, {"role": "assistant", "content": "Ü."}
    assert json.loads(line) == {"messages": [first, second]}
    assert "Ü" in line


@pytest.mark.parametrize("rows", [0, 9, 10])
def test_openai_asks_for_ten_rows(rows: int) -> None:
    """Nine are too few, ten are enough, and other formats do not count."""
    given = [Example((Message("user", "A?"), Message("assistant", "B.")), 1, "rows")] * rows
    assert chat_text(given).count("\n") == rows
    if rows < 10:
        with pytest.raises(DataError, match=f"^{rows} rows, but OpenAI's"):
            openai_text(given)
    else:
        assert openai_text(given) == chat_text(given)


@pytest.mark.parametrize("format", WRITTEN)
def test_a_plain_text_is_named_by_its_row(format: str) -> None:
    """It has no turns, whatever the format."""
    rows = [Example((), number, "texts.jsonl", "Long.") for number in range(7, 20)]
    with pytest.raises(DataError, match=r"texts.jsonl, row 7: is a plain `text`"):
        written(rows, format)


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    """By name."""
    with pytest.raises(ConfigError, match="format 'opanai' is not written; did you mean 'openai'"):
        written([], "opanai")
