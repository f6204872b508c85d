"""Every format from every container, and the error that each broken row gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.data import examples, fingerprint, load, sift
from safeft.errors import ConfigError, DataError

Rows = list[dict[str, Any]]
Write = Callable[[Path, Rows], Path]

CHAT = [
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Good day."},
]
ROWS: dict[str, dict[str, Any]] = {
    "messages": {"messages": CHAT},
    "prompt-completion": {"prompt": "Hello?", "completion": "Good day."},
    "alpaca": {"instruction": "Hello?", "input": "", "output": "Good day."},
    "dolly": {"instruction": "Hello?", "context": "", "response": "Good day."},
    "prompt-response": {"prompt": "Hello?", "response": "Good day."},
    "question-answer": {"question": "Hello?", "answer": "Good day."},
}


def _contents(path: Path) -> list[tuple[str, str]]:
    (item,) = examples(load(str(path)))
    return [(turn.role, turn.content) for turn in item.messages]


def _problem(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        examples(load(str(path)))
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("format", ROWS)
def test_every_format_reads_from_every_container(
    format: str, suffix: str, tmp_path: Path, write: Write
) -> None:
    """The same question and answer come out, whatever the format and the container."""
    path = write(tmp_path / f"set{suffix}", [ROWS[format]])
    assert load(str(path)).format == format
    assert _contents(path) == [("user", "Hello?"), ("assistant", "Good day.")]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_text_rows_have_no_chat(suffix: str, tmp_path: Path, write: Write) -> None:
    """A `text` row is a document: no messages, and it is its own prompt."""
    (item,) = examples(load(str(write(tmp_path / f"set{suffix}", [{"text": "Once."}]))))
    assert (item.messages, item.text, item.requests) == ((), "Once.", ("Once.",))


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Sum up.", "input": "A tale.", "output": "Short."},
        {"instruction": "Sum up.", "context": "A tale.", "response": "Short."},
    ],
)
def test_context_is_joined_with_a_blank_line(
    row: dict[str, str], tmp_path: Path, write: Write
) -> None:
    """Alpaca's input and Dolly's context follow the instruction after a blank line."""
    assert _contents(write(tmp_path / "set.jsonl", [row]))[0] == ("user", "Sum up.\n\nA tale.")


def test_prompt_and_completion_may_be_lists_of_messages(tmp_path: Path, write: Write) -> None:
    """TRL's conversational prompt/completion reads like messages."""
    row = {"prompt": [{"role": "system", "content": "Be kind."}, CHAT[0]], "completion": [CHAT[1]]}
    roles = [role for role, _ in _contents(write(tmp_path / "set.jsonl", [row]))]
    assert roles == ["system", "user", "assistant"]


def test_other_columns_are_reported(tmp_path: Path, write: Write) -> None:
    """A column that the format does not read is listed as unused."""
    path = write(tmp_path / "set.jsonl", [{**ROWS["dolly"], "category": "x"}])
    assert load(str(path)).unused == ("category",)


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ({"question": "Why?", "answer": " "}, "'answer'", "is empty"),
        ({"question": "Why?", "answer": None}, "'answer'", "is missing"),
        ({"question": "Why?", "answer": 42}, "'answer'", "expected text, found int"),
        ({"answer": "So."}, "'question'", "is missing"),
    ],
)
def test_a_broken_row_is_named(
    row: dict[str, Any], field: str, problem: str, tmp_path: Path, write: Write
) -> None:
    """File, row number, field and problem are in the message."""
    message = _problem(write(tmp_path / "set.jsonl", [ROWS["question-answer"], row]))
    for part in ("set.jsonl, row 2", f"field {field}", problem, "1 broken row"):
        assert part in message


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("Hello", "is not a JSON list"),
        ({"role": "user"}, "expected a list of messages, found dict"),
        (["Hello"], "messages[0]': expected an object with role and content, found str"),
        ([{"content": "Hi"}], "messages[0].role': is missing"),
        ([{"role": "asistant", "content": "Hi"}], "did you mean 'assistant'?"),
        ([CHAT[0], {"role": "assistant", "content": ""}], "messages[1].content': is empty"),
        ([CHAT[0], {**CHAT[1], "tool_calls": [{}]}], "messages[1].tool_calls': is not supported"),
        ([CHAT[1], CHAT[0]], "turn 1 is assistant's, expected user's"),
        ([CHAT[0], CHAT[0], CHAT[1]], "turn 2 is user's, expected assistant's"),
        ([*CHAT, CHAT[0]], "must end with the assistant's answer"),
        ([*CHAT, {"role": "system", "content": "x"}], "turn 3 is system's, expected user's"),
        ([], "must end with the assistant's answer"),
    ],
)
def test_broken_messages_are_named(
    messages: Any, expected: str, tmp_path: Path, write: Write
) -> None:
    """Types, roles, order and emptiness of turns are checked, and the turn is named."""
    message = _problem(write(tmp_path / "set.jsonl", [{"messages": messages}]))
    assert expected in message
    assert "set.jsonl, row 1, field 'messages" in message


def test_many_broken_rows_are_listed_and_counted(tmp_path: Path, write: Write) -> None:
    """Five rows are listed, the rest are counted: none is passed over."""
    path = write(tmp_path / "set.jsonl", [{"question": "Why?", "answer": ""}] * 8)
    message = _problem(path)
    assert "8 broken rows" in message
    assert "row 5," in message
    assert "row 6," not in message
    assert "and 3 more" in message


def test_sift_returns_good_and_broken(tmp_path: Path, write: Write) -> None:
    """Good and broken rows add up to all rows, and numbers still refer to the file."""
    rows = [{"question": "Why?", "answer": ""}, ROWS["question-answer"]]
    good, broken = sift(load(str(write(tmp_path / "set.jsonl", rows))))
    assert [item.row for item in good] == [2]
    assert len(broken) == 1
    assert "row 1" in broken[0]


def test_two_formats_in_one_row_are_ambiguous(tmp_path: Path, write: Write) -> None:
    """The first row that fits two formats is named with both, and --format settles it."""
    path = write(tmp_path / "set.jsonl", [{**ROWS["alpaca"], "text": "both"}])
    message = _problem(path)
    for part in ("set.jsonl, row 1", "alpaca (instruction, output)", "text (text)"):
        assert part in message
    assert load(str(path), format="alpaca").format == "alpaca"


def test_rows_of_two_formats_are_refused(tmp_path: Path, write: Write) -> None:
    """A set has one format: the first row that differs is named."""
    message = _problem(write(tmp_path / "set.jsonl", [ROWS["alpaca"], {"text": "x"}]))
    assert "row 2: is text" in message
    assert "row 1 is alpaca" in message


def test_null_columns_do_not_make_a_format(tmp_path: Path, write: Write) -> None:
    """Arrow adds nulls for absent keys; they do not make a row ambiguous."""
    rows = [{**ROWS["alpaca"], "text": None}, {**ROWS["alpaca"], "text": None}]
    assert load(str(write(tmp_path / "set.parquet", rows))).format == "alpaca"


def test_wrong_columns_name_found_known_and_nearest(tmp_path: Path, write: Write) -> None:
    """The message has the columns found, the formats known and a did-you-mean."""
    message = _problem(write(tmp_path / "set.jsonl", [{"promt": "a", "completion": "b"}]))
    assert "promt, completion" in message
    assert "'promt': did you mean 'prompt'?" in message
    assert "question-answer (question, answer)" in message


def test_an_unknown_format_option_is_refused(tmp_path: Path, write: Write) -> None:
    """A misspelt format gets the nearest name; one that does not fit names its columns."""
    path = write(tmp_path / "set.jsonl", [ROWS["dolly"]])
    with pytest.raises(ConfigError, match="did you mean 'dolly'"):
        load(str(path), format="doly")
    with pytest.raises(DataError, match="known: text"):
        load(str(path), format="text")


def test_example_fingerprints_ignore_the_format(tmp_path: Path, write: Write) -> None:
    """The same conversation has one fingerprint, and another order of rows another one."""
    chats = [
        examples(load(str(write(tmp_path / f"{name}.jsonl", [ROWS[name]]))))
        for name in ("messages", "dolly", "alpaca")
    ]
    assert len({fingerprint(items) for items in chats}) == 1
    other = examples(load(str(write(tmp_path / "o.jsonl", [{"text": json.dumps(CHAT)}]))))
    assert fingerprint(chats[0] + other) != fingerprint(other + chats[0])
