"""Rows → examples: which of the known formats a set has, and what each row says in it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safeft.data.rows import Source, SourceRow, columns, digest, unwritable
from safeft.errors import ConfigError, DataError, did_you_mean
from safeft.records import Message

_ROLES = ("system", "user", "assistant")
_CHANGES_MEANING = ("tool_calls", "function_call", "weight", "images")
_SHOWN = 5  # broken rows that one error lists before it only counts


@dataclass(frozen=True, slots=True)
class Example:
    """One training example and the row it came from.

    `messages` ends with the assistant's turn; for the format `text` it is empty, `text` holds the
    document, and every token of it is trained.
    """

    messages: tuple[Message, ...]
    row: int
    source: str
    text: str = ""

    @property
    def place(self) -> str:
        """Where it came from, for messages: `train.jsonl, row 7`."""
        return f"{self.source}, row {self.row}"

    @property
    def requests(self) -> tuple[str, ...]:
        """What is asked: each user turn, or the whole document."""
        asked = tuple(turn.content for turn in self.messages if turn.role == "user")
        return asked or (self.text,)

    @property
    def prompt(self) -> str:
        """The turns before the answer as one string, or the whole document."""
        return "\n\n".join(turn.content for turn in self.messages[:-1]) or self.text


@dataclass(frozen=True, slots=True)
class Format:
    """A known shape of rows: the columns it needs, those it may use, and how it reads a row."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    convert: Callable[[SourceRow], Example]

    def matches(self, names: Iterable[str]) -> bool:
        """Whether every required column is among `names`."""
        return set(self.required) <= set(names)


def detect(rows: Sequence[SourceRow], name: str) -> str:
    """The one format that the rows have.

    Raises DataError when no format fits the columns, when a row fits two, or when rows differ.
    """
    candidates = _matching(columns(rows))
    if not candidates:
        raise DataError(_unknown_columns(rows, name))
    if len(candidates) == 1:
        return candidates[0]
    first: tuple[SourceRow, str] | None = None
    for row in rows:
        found = _matching(row.present)
        _refuse_two(row, found)
        if found and first and found[0] != first[1]:
            raise DataError(
                f"{row.place}: is {_described(found[0])}, but row {first[0].number} is "
                f"{_described(first[1])}; keep one format per set"
            )
        first = first or ((row, found[0]) if found else None)
    if first is None:
        raise DataError(f"{name}: no row is complete in any of {', '.join(candidates)}")
    return first[1]


def check(name: str, format: str, rows: Sequence[SourceRow]) -> str:
    """`format` itself, when it is known and the rows have its columns."""
    if format not in FORMATS:
        raise ConfigError(f"format {format!r} is not known{did_you_mean(format, FORMATS)}")
    if not FORMATS[format].matches(columns(rows)):
        raise DataError(_unknown_columns(rows, name, format))
    return format


def unused(rows: Sequence[SourceRow], format: str) -> tuple[str, ...]:
    """The columns that the format does not read."""
    read = FORMATS[format].required + FORMATS[format].optional
    return tuple(name for name in columns(rows) if name not in read)


def sift(source: Source) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """The examples of the good rows, in order, and a message for every broken row.

    Whoever trains on the good rows only must say how many were left out.
    """
    convert = FORMATS[source.format].convert
    good: list[Example] = []
    broken: list[str] = []
    for row in source.rows:
        try:
            good.append(convert(row))
        except DataError as error:
            broken.append(str(error))
    return tuple(good), tuple(broken)


def examples(source: Source) -> tuple[Example, ...]:
    """One example per row, in order; DataError lists the broken rows, with file, row and field."""
    good, broken = sift(source)
    if broken:
        rows = f"{len(broken)} broken row{'s' * (len(broken) > 1)}"
        raise DataError(f"{source.label} ({source.format}): {rows}\n{listed(broken)}")
    return good


def kept(source: Source, *, skip_broken: bool) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """The examples to go on with, and a message for every row that is left out.

    Raises DataError for broken rows unless they may be skipped, and when none is left.
    """
    if not skip_broken:
        return examples(source), ()
    good, broken = sift(source)
    if not good:
        raise DataError(f"{source.label}: every row is broken\n{listed(broken)}")
    return good, broken


def listed(messages: Sequence[str]) -> str:
    """The first messages, indented, and how many more there are."""
    more = [f"… and {len(messages) - _SHOWN} more"] if len(messages) > _SHOWN else []
    return "\n".join(f"  {line}" for line in [*messages[:_SHOWN], *more])


def fingerprint(items: Iterable[Example]) -> str:
    """The digest of what the examples say, in order, wherever they were read from."""
    return digest([item.text, *map(asdict, item.messages)] for item in items)


def _matching(names: Iterable[str]) -> list[str]:
    present = set(names)
    return [name for name, known in FORMATS.items() if known.matches(present)]


def _described(name: str) -> str:
    return f"{name} ({', '.join(FORMATS[name].required)})"


def _refuse_two(row: SourceRow, found: Sequence[str]) -> None:
    if len(found) > 1:
        both = " and ".join(map(_described, found))
        raise DataError(
            f"{row.place}: fits {both}; name the format ({' or '.join(found)}), or drop a column"
        )


def _unknown_columns(rows: Sequence[SourceRow], name: str, format: str = "") -> str:
    found = columns(rows)
    wanted = [format] if format else list(FORMATS)
    fields = {field for known in wanted for field in FORMATS[known].required}
    hints = [
        f"; {column!r}: did you mean {close[0]!r}?"
        for column in found
        if column not in fields and (close := _close(column, fields))
    ]
    known = "; ".join(map(_described, wanted))
    return (
        f"{name}: the columns {', '.join(found)} fit no known format{''.join(hints)}\n"
        f"  known: {known}"
    )


def _close(column: str, fields: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(column.strip().lower(), sorted(fields), n=1, cutoff=0.7)


def _broken(row: SourceRow, field: str, problem: str) -> DataError:
    return DataError(f"{row.place}, field {field!r}: {problem}")


def _string(row: SourceRow, field: str, value: Any) -> str:
    if value is None:
        raise _broken(row, field, "is missing; fill it in or remove the row")
    if not isinstance(value, str):
        raise _broken(row, field, f"expected text, found {type(value).__name__}; write a string")
    if not value.strip():
        raise _broken(row, field, "is empty; fill it in or remove the row")
    if problem := unwritable(value):
        raise _broken(row, field, problem)
    return value


def _optional(row: SourceRow, field: str) -> str:
    value = row.values.get(field)
    return "" if value is None or value == "" else _string(row, field, value)


def _message(row: SourceRow, field: str, value: Any) -> Message:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise _broken(row, field, f"expected an object with role and content, found {kind}")
    for name in _CHANGES_MEANING:
        if value.get(name) not in (None, []):
            raise _broken(row, f"{field}.{name}", "is not supported; remove it or the row")
    role = _string(row, f"{field}.role", value.get("role"))
    if role not in _ROLES:
        raise _broken(row, f"{field}.role", f"unknown role {role!r}{did_you_mean(role, _ROLES)}")
    return Message(role, _string(row, f"{field}.content", value.get("content")))


def _turns(row: SourceRow, field: str, role: str) -> tuple[Message, ...]:
    """The turns in a field: a list of messages, or a plain string spoken by `role`."""
    value = row.values.get(field)
    if not isinstance(value, list):
        return (Message(role, _string(row, field, value)),)
    return tuple(_message(row, f"{field}[{n}]", turn) for n, turn in enumerate(value))


def _ordered(row: SourceRow, field: str, turns: tuple[Message, ...]) -> Example:
    """The example, when its turns are: system at most once and first, user, assistant, …"""
    spoken = turns[1:] if turns and turns[0].role == "system" else turns
    for number, turn in enumerate(spoken):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            where = number + len(turns) - len(spoken) + 1
            raise _broken(row, field, f"turn {where} is {turn.role}'s, expected {expected}'s")
    if len(spoken) < 2 or spoken[-1].role != "assistant":
        raise _broken(row, field, "must end with the assistant's answer to a user turn")
    return Example(turns, row.number, row.file)


def _from_messages(row: SourceRow) -> Example:
    value = row.values.get("messages")
    if isinstance(value, str):  # a CSV cell can only hold the list as JSON
        try:
            row = SourceRow(row.file, row.number, {"messages": json.loads(value)})
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", error)
            raise _broken(row, "messages", f"is not a JSON list ({reason})") from None
    if not isinstance(row.values.get("messages"), list):
        kind = type(row.values.get("messages")).__name__
        raise _broken(row, "messages", f"expected a list of messages, found {kind}")
    return _ordered(row, "messages", _turns(row, "messages", "user"))


def _from_prompt(row: SourceRow) -> Example:
    turns = _turns(row, "prompt", "user") + _turns(row, "completion", "assistant")
    return _ordered(row, "prompt/completion", turns)


def _pair(question: str, context: str, answer: str) -> Callable[[SourceRow], Example]:
    """A reader of question and answer columns; a context is joined on with a blank line."""

    def convert(row: SourceRow) -> Example:
        parts = [_string(row, question, row.values.get(question))]
        parts += [extra] if context and (extra := _optional(row, context)) else []
        answered = _string(row, answer, row.values.get(answer))
        turns = (Message("user", "\n\n".join(parts)), Message("assistant", answered))
        return Example(turns, row.number, row.file)

    return convert


def _from_text(row: SourceRow) -> Example:
    return Example((), row.number, row.file, _string(row, "text", row.values.get("text")))


FORMATS: dict[str, Format] = {
    "messages": Format(("messages",), (), _from_messages),
    "prompt-completion": Format(("prompt", "completion"), (), _from_prompt),
    "prompt-response": Format(("prompt", "response"), (), _pair("prompt", "", "response")),
    "alpaca": Format(
        ("instruction", "output"), ("input",), _pair("instruction", "input", "output")
    ),
    "dolly": Format(
        ("instruction", "response"), ("context",), _pair("instruction", "context", "response")
    ),
    "question-answer": Format(("question", "answer"), (), _pair("question", "", "answer")),
    "text": Format(("text",), (), _from_text),
}
