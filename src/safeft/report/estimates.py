"""estimates.json: the documented, versioned record of a report (docs/estimates.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safeft.errors import RunError, StoredError
from safeft.records import ComparisonRow, Estimate, EstimateRow, Row, VarianceRow
from safeft.report.document import LEVEL, Document, Run

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA = "safeft.estimates/1"
KINDS: Mapping[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (float, int)}

T = TypeVar("T")
Kind = TypeVar("Kind", bound="DataclassInstance")


def estimates_json(document: Document) -> str:
    """The document as JSON: sorted keys, and null for every number that is not available."""
    record = {
        "schema": SCHEMA,
        "title": document.title,
        "estimates": [plain(row.flat()) for row in document.estimates],
        "comparisons": [plain(row.flat()) for row in document.comparisons],
        "variance": [plain(row.flat()) for row in document.variance],
        "runs": [plain(asdict(run)) for run in document.runs],
        "notes": list(document.notes),
        "provenance": document.provenance,
        "labels": document.labels,
        "level": document.level,
        "judges": document.judges,
    }
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """The record with None instead of NaN and infinity, which JSON does not have."""
    return {key: None if _absent(value) else value for key, value in record.items()}


def _absent(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def read_estimates(path: Path) -> Document:
    """The document that `estimates_json` wrote.

    Raises RunError when there is no such file, StoredError when it is damaged or newer than this.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} is not there: a report needs a finished run") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoredError(f"{path} is not JSON ({error}): delete it and report again") from error
    _check_schema(record, path)
    try:
        return _document(record)
    except (ValueError, TypeError) as error:
        raise StoredError(f"{path} is damaged: {error}; delete it and report again") from error


def _check_schema(record: object, path: Path) -> None:
    found = record.get("schema") if isinstance(record, dict) else None
    if found == SCHEMA:
        return
    if isinstance(found, str) and found.startswith("safeft.estimates/"):
        raise StoredError(f"{path} has schema {found}, this safeft reads {SCHEMA}: upgrade safeft")
    raise StoredError(f"{path} is not an estimates file: its schema is {found!r}, not {SCHEMA!r}")


def _document(record: dict[str, Any]) -> Document:
    return Document(
        title=_text(record.get("title", ""), "title"),
        estimates=_rows(record, "estimates", _estimate),
        comparisons=_rows(record, "comparisons", _comparison),
        variance=_rows(record, "variance", lambda row: _build(VarianceRow, row)),
        runs=_rows(record, "runs", lambda row: _build(Run, row), optional=True),
        notes=_rows(record, "notes", lambda note: _text(note, "note")),
        provenance=_texts(record, "provenance"),
        labels=_texts(record, "labels", optional=True),
        level=_level(record),
        judges=_texts(record, "judges", optional=True),
    )


def _estimate(record: dict[str, Any]) -> EstimateRow:
    return EstimateRow(_build(Row, record), _build(Estimate, record))


def _comparison(record: dict[str, Any]) -> ComparisonRow:
    return _build(ComparisonRow, record | {"row": _build(Row, record)})


def _rows(
    record: dict[str, Any], key: str, build: Callable[[Any], T], optional: bool = False
) -> tuple[T, ...]:
    """The list under `key`, built; an error says which line is wrong."""
    rows = _section(record, key, list, optional)
    built = []
    for number, row in enumerate(rows):
        try:
            built.append(build(row))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{key}[{number}]: {error}") from error
    return tuple(built)


def _texts(record: dict[str, Any], key: str, optional: bool = False) -> dict[str, str]:
    section = _section(record, key, dict, optional)
    return {name: _text(value, f"{key}.{name}") for name, value in section.items()}


def _level(record: dict[str, Any]) -> float:
    level: float = _value({"level": LEVEL} | record, "level", "float")
    if not 0 < level < 1:
        raise ValueError(f"level should lie between 0 and 1, found {record['level']!r}")
    return level


def _section(record: dict[str, Any], key: str, kind: type[T], optional: bool) -> T:
    value = record.get(key, kind() if optional else None)
    if not isinstance(value, kind):
        raise ValueError(f"{key} should be a {kind.__name__}, found {type(value).__name__}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} should be text, found {value!r}")
    return value


def _build(kind: type[Kind], record: object) -> Kind:
    """A dataclass of plain values from its record; keys that it does not know are left alone.

    A key that an earlier version of the schema did not have takes its default.
    """
    if not isinstance(record, dict):
        raise ValueError(f"a record should be an object, found {record!r}")
    names = {
        field.name: str(field.type)
        for field in fields(kind)
        if field.name in record or field.default is MISSING
    }
    return kind(**{name: _value(record, name, annotation) for name, annotation in names.items()})


def _value(record: dict[str, Any], name: str, annotation: str) -> Any:
    if name not in record:
        raise ValueError(f"{name} is missing")
    value = record[name]
    if annotation == "float" and value is None:
        return math.nan
    # bool is an int to Python, and never a number here.
    fits = isinstance(value, KINDS.get(annotation, object)) and not isinstance(value, bool)
    if not fits:
        raise ValueError(f"{name} should be {annotation}, found {value!r}")
    return float(value) if annotation == "float" else value
