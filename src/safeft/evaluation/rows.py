"""One row of a prompt file: SORRY-Bench's schema, or columns under other names."""

from __future__ import annotations

from dataclasses import dataclass

from safeft.data.rows import SourceRow, unwritable
from safeft.errors import DataError


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt's number (or name), text and category, as written."""

    id: str
    text: str
    category: str


def question(
    row: SourceRow, text: str = "turns", category: str = "category", id: str = "question_id"
) -> Question:
    """The question of a row; DataError names file, row and field when it is broken.

    The text is a string, or SORRY-Bench's list of one string. `prompt.text` is the column `text`
    within `prompt`. Without a column of categories there are none, and without one of ids a row's
    number is its id.
    """
    said, kind = _text(row, text), _value(row, category) if category else ""
    number = _value(row, id) if id else row.number
    if category and not _said(kind):
        raise DataError(f"{row.place}: field {category!r} must be a non-empty string, such as '7'")
    if isinstance(number, bool) or not (isinstance(number, int) or _said(number)):
        raise DataError(f"{row.place}: field {id!r} must be a number or a string")
    for field, value in ((text, said), (category, str(kind)), (id, str(number))):
        if problem := unwritable(value):
            raise DataError(f"{row.place}: field {field!r} {problem}")
    return Question(str(number), said, str(kind))


def _value(row: SourceRow, column: str) -> object:
    """What stands in a column, or within one; None when nothing does."""
    if column in row.values:
        return row.values[column]
    block, _, name = column.partition(".")
    inside = row.values.get(block)
    return inside.get(name) if name and isinstance(inside, dict) else None


def _text(row: SourceRow, column: str) -> str:
    value = _value(row, column)
    if column != "turns" and isinstance(value, str) and _said(value):
        return value
    if not isinstance(value, list) or not value or not all(map(_said, value)):
        what = "a list of non-empty strings" if column == "turns" else "a non-empty string"
        raise DataError(f"{row.place}: field {column!r} must be {what}")
    if len(value) > 1:
        raise DataError(f"{row.place}: field 'turns' has {len(value)} turns; only one is supported")
    return str(value[0])


def _said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
