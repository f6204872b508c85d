"""Files → rows: JSON Lines, JSON, CSV and Parquet, with the row named when it is broken."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safeft.data.rows import SourceRow, unwritable
from safeft.errors import DataError

_LARGEST_CELL = 2**31 - 1  # the csv module's own limit, 128 KiB, is too small for documents


def read(path: Path, name: str) -> Iterator[SourceRow]:
    """The rows of one file, called `name` in messages; DataError names a row that is broken."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(READERS)
        raise DataError(
            f"{name}: cannot read {path.suffix or 'a file without suffix'}; use {known}"
        )
    return reader(path, name)


def _text(path: Path, name: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, row {line}: not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); check the file") from None


def _row(name: str, number: int, values: Any) -> SourceRow:
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise DataError(f"{name}, row {number}: expected an object with columns, found {kind}")
    if broken := next(filter(unwritable, values), ""):
        raise DataError(f"{name}, row {number}: the column {broken!a} {unwritable(broken)}")
    return SourceRow(name, number, values)


def _json_lines(path: Path, name: str) -> Iterator[SourceRow]:
    return _lines(_text(path, name), name)


def _lines(text: str, name: str) -> Iterator[SourceRow]:
    # Not splitlines(): JSON strings may hold U+2028 and its kin unescaped.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _row(name, number, _parsed(line, name, number))


def _parsed(line: str, name: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}, row {number}: not JSON ({error.msg}, column {error.colno}); "
            "write one object per line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}, row {number}: {_beyond(error)}") from None


def _beyond(error: Exception) -> str:
    """What JSON allows and Python does not read."""
    if isinstance(error, RecursionError):
        return "is nested too deeply; flatten it"
    return "holds a number of too many digits; write it as text"


def _json(path: Path, name: str) -> Iterator[SourceRow]:
    text = _text(path, name)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # many hub sets call their JSON Lines `.json`
            yield from _lines(text, name)
            return
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{name}: not JSON ({error.msg}, {where}); write a list of rows") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: {_beyond(error)}") from None
    rows = values if isinstance(values, list) else [values]
    for number, row in enumerate(rows, 1):
        yield _row(name, number, row)


def _csv(path: Path, name: str) -> Iterator[SourceRow]:
    before = csv.field_size_limit(_LARGEST_CELL)
    number = 0
    try:
        reader = csv.reader(io.StringIO(_text(path, name), newline=""), strict=True)
        header = _header(next(reader, []), name)
        for cells in reader:
            number += bool(cells)
            if cells:
                yield SourceRow(name, number, _cells(header, cells, f"{name}, row {number}"))
    except csv.Error as error:
        raise DataError(f"{name}, row {number + 1}: not CSV ({error}); check its quotes") from None
    finally:
        csv.field_size_limit(before)


def _header(header: list[str], name: str) -> list[str]:
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(f"{name}: the header has {twice[0]!r} twice; rename one of the columns")
    return header


def _cells(header: list[str], cells: list[str], place: str) -> dict[str, str]:
    if len(cells) != len(header):
        raise DataError(
            f"{place}: has {len(cells)} cells where the header has {len(header)}; "
            "quote cells that hold commas or line breaks"
        )
    return dict(zip(header, cells, strict=True))


def _parquet(path: Path, name: str) -> Iterator[SourceRow]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield SourceRow(name, number, values)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{name}: not a readable Parquet file ({reason})") from None


READERS: dict[str, Callable[[Path, str], Iterator[SourceRow]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
