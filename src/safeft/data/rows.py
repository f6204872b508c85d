"""Rows as they were read, before anybody decided what they mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of one file. `number` counts from 1; in JSON Lines it is the line number."""

    file: str
    number: int
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Where the row is, for messages: `train.jsonl, row 7`."""
        return f"{self.file}, row {self.number}"

    @property
    def present(self) -> tuple[str, ...]:
        """The columns that hold something; null counts as absent, the empty string does not."""
        return tuple(name for name, value in self.values.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows with their detected format and identity.

    `revision` (a commit) is set for hub sets only, `split` for folders and hub sets; `unused`
    lists the columns that the format does not read.
    """

    name: str
    format: str
    rows: tuple[SourceRow, ...]
    fingerprint: str
    revision: str = ""
    split: str = ""
    unused: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The source as a user would write it again: `org/name@commit:split`."""
        revision = f"@{self.revision}" if self.revision else ""
        return self.name + revision + (f":{self.split}" if self.split else "")


def unwritable(text: str) -> str:
    """What keeps a text from being written or tokenised, or nothing.

    JSON can spell half of a surrogate pair, which is no character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        return f"holds half a character (\\u{half:04x} alone); mend or remove it"
    return ""


def columns(rows: Iterable[SourceRow]) -> tuple[str, ...]:
    """Every column that is present in some row, in order of first appearance."""
    return tuple(dict.fromkeys(name for row in rows for name in row.present))


def digest(records: Iterable[object]) -> str:
    """The sha256 over the records as canonical JSON lines; the order of records matters."""
    total = hashlib.sha256()
    for record in records:
        line = json.dumps(
            record, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str
        )
        total.update(line.encode() + b"\n")
    return total.hexdigest()


def fingerprint(rows: Iterable[SourceRow]) -> str:
    """The digest of the rows' values: independent of file names, column order and null cells.

    Nulls are left out because Arrow files add them for every absent key, so that one set has
    one fingerprint as JSON Lines and as Parquet.
    """
    return digest({name: row.values[name] for name in row.present} for row in rows)
