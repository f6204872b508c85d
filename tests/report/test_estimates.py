"""estimates.json: what is written can be read back, and damage is never read as numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from safeft.errors import RunError, StoredError
from safeft.report import SCHEMA, Document, estimates_json, read_estimates

Damage = Callable[[dict[str, Any]], object]


def stored(content: Document | dict[str, Any], folder: Path) -> Path:
    """The file of a document, or of a record that no document gives."""
    path = folder / "estimates.json"
    text = estimates_json(content) if isinstance(content, Document) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def finite(document: Document) -> Document:
    """The document without the numbers that equal nothing, not even themselves."""
    return replace(
        document,
        estimates=tuple(e for e in document.estimates if math.isfinite(e.value.estimate)),
        comparisons=tuple(c for c in document.comparisons if math.isfinite(c.p)),
        variance=tuple(v for v in document.variance if math.isfinite(v.low)),
    )


def test_round_trip(document: Document, tmp_path: Path) -> None:
    """Reading gives back the very document that was written."""
    written = finite(document)
    assert read_estimates(stored(written, tmp_path)) == written


def test_round_trip_of_lost_numbers(document: Document, tmp_path: Path) -> None:
    """Writing what was read gives the same bytes, NaN included."""
    path = stored(document, tmp_path)
    assert estimates_json(read_estimates(path)) == path.read_text(encoding="utf-8")


def test_an_empty_document_is_a_document(tmp_path: Path) -> None:
    """Nothing measured yet is not damage."""
    path = stored(Document("empty"), tmp_path)
    assert read_estimates(path) == Document("empty")


def test_keys_are_documented(document: Document) -> None:
    """docs/estimates.md names every key of every list."""
    record = json.loads(estimates_json(document))
    text = (Path(__file__).parents[2] / "docs" / "estimates.md").read_text(encoding="utf-8")
    lists = ("estimates", "comparisons", "variance", "runs")
    keys = set(record).union(*(record[name][0] for name in lists))
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
    assert f"`{SCHEMA}`" in text


def test_json_has_no_nan(document: Document) -> None:
    """A number that is not available is null; NaN and infinity are no JSON."""
    lost = replace(document.comparisons[0], low=-math.inf, high=math.inf)
    text = estimates_json(replace(document, comparisons=(lost,)))
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert record["comparisons"][0]["low"] is None
    assert any(line["estimate"] is None for line in record["estimates"])


def test_keys_are_sorted(document: Document) -> None:
    """Two writes of one document do not differ, whatever the order of its dictionaries."""
    swapped = dict(reversed(document.provenance.items()))
    assert estimates_json(document) == estimates_json(replace(document, provenance=swapped))


def test_labels_are_kept(document: Document) -> None:
    """Whoever reads the numbers also reads that a recipe did not learn."""
    assert json.loads(estimates_json(document))["labels"] == {"frozen": "did not learn"}


def test_unknown_keys_are_left_alone(document: Document, tmp_path: Path) -> None:
    """A later safeft may add keys to schema 1."""
    record = json.loads(estimates_json(finite(document)))
    record["new"] = 1
    record["estimates"][0]["new"] = 1
    path = stored(record, tmp_path)
    assert read_estimates(path) == finite(document)


def test_optional_keys_may_be_missing(document: Document, tmp_path: Path) -> None:
    """Files from other tools need not carry what only the page draws."""
    record = json.loads(estimates_json(document))
    for key in ("runs", "labels", "title", "level", "judges"):
        del record[key]
    path = stored(record, tmp_path)
    found = read_estimates(path)
    assert (found.runs, found.labels, found.title) == ((), {}, "")
    assert (found.level, found.judges) == (0.95, {})


def test_a_file_of_before_the_keys_were_added_is_read(document: Document, tmp_path: Path) -> None:
    """Schema 1 gained keys: what was written without them is no damage."""
    record = json.loads(estimates_json(finite(document)))
    for key in ("n", "n_seeds", "method", "detectable"):
        del record["comparisons"][0][key]
    for key in ("judge", "epoch", "temperature"):
        del record["variance"][0][key]
    del record["runs"][0]["judge"]
    path = stored(record, tmp_path)
    found = read_estimates(path)
    assert (found.comparisons[0].n, found.comparisons[0].method) == (0, "")
    assert math.isnan(found.comparisons[0].detectable)
    assert (found.variance[0].judge, found.runs[0].judge) == ("", "")


def test_level_and_judges_are_kept(document: Document, tmp_path: Path) -> None:
    """A report at 90 % stays one."""
    given = replace(finite(document), level=0.9, judges={"keyword": "refusal"})
    assert read_estimates(stored(given, tmp_path)) == given


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no schema": (lambda r: r.pop("schema"), "not an estimates file"),
    "other schema": (lambda r: r.update(schema="inspect/2"), "inspect/2"),
    "newer schema": (lambda r: r.update(schema="safeft.estimates/2"), "upgrade safeft"),
    "no list": (lambda r: r.pop("estimates"), "estimates should be a list"),
    "text for a list": (lambda r: r.update(notes="x"), "notes should be a list"),
    "number for a note": (lambda r: r.update(notes=[1]), r"notes\[0\]: note should be text"),
    "number for provenance": (lambda r: r.update(provenance={"a": 1}), "provenance.a"),
    "no key": (lambda r: r["estimates"][3].pop("n"), r"estimates\[3\]: n is missing"),
    "text for a number": (lambda r: r["variance"][0].update(share="x"), "share should be float"),
    "truth for a number": (lambda r: r["runs"][0].update(seed=True), "seed should be int"),
    "null for a name": (lambda r: r["comparisons"][0].update(recipe=None), "recipe should be str"),
    "null for a count": (lambda r: r["estimates"][0].update(n=None), "n should be int"),
    "an impossible level": (lambda r: r.update(level=95), "level should lie between 0 and 1"),
    "text for a level": (lambda r: r.update(level="x"), "level should be float"),
    "text for a record": (lambda r: r["runs"].append("x"), "should be an object"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused(name: str, document: Document, tmp_path: Path) -> None:
    """A damaged file raises StoredError and says where the damage is."""
    damage, message = DAMAGES[name]
    record = json.loads(estimates_json(document))
    damage(record)
    path = stored(record, tmp_path)
    with pytest.raises(StoredError, match=message):
        read_estimates(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    """Half a file, or another file, is damage."""
    path = tmp_path / "estimates.json"
    path.write_bytes(content)
    with pytest.raises(StoredError, match="is not"):
        read_estimates(path)


def test_a_missing_file_is_the_users_to_mend(tmp_path: Path) -> None:
    """No file is no damage: the run is not finished."""
    with pytest.raises(RunError, match="finished run"):
        read_estimates(tmp_path / "estimates.json")
