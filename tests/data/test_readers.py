"""Broken files: one clear message each, with the file and, where there is one, the row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safeft.data.readers import read
from safeft.errors import DataError


def _problem(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read(path, path.name))
    return str(caught.value)


def _file(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', ["a.jsonl, row 2", "not JSON", "column"]),
        ("a.jsonl", b'{"text": "x"}\n[1]\n', ["a.jsonl, row 2", "expected an object", "list"]),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\xff"}\n', ["a.jsonl, row 2", "not UTF-8"]),
        ("a.json", b'[{"text": "x"},', ["a.json: not JSON", "line 1"]),
        ("a.json", b'["x"]', ["a.json, row 1", "expected an object", "str"]),
        ("a.csv", b"text\nx\na,b\n", ["a.csv, row 2", "2 cells", "header has 1"]),
        ("a.csv", b'text\n"x\n', ["a.csv, row 1", "not CSV", "quotes"]),
        ("a.csv", b"text,text\nx,y\n", ["a.csv: the header has 'text' twice"]),
        ("a.parquet", b"not parquet", ["a.parquet: not a readable Parquet file"]),
        ("a.txt", b"x", ["a.txt: cannot read .txt", ".jsonl, .json, .csv, .parquet"]),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, name: str, content: bytes, parts: list[str]
) -> None:
    """The message has the file, the row and what is wrong."""
    message = _problem(_file(tmp_path, name, content))
    for part in parts:
        assert part in message


def test_json_lines_called_json_are_read(tmp_path: Path) -> None:
    """Hub sets often call their JSON Lines `.json`."""
    path = _file(tmp_path, "a.json", b'{"text": "x"}\n{"text": "y"}\n')
    assert [row.values["text"] for row in read(path, "a")] == ["x", "y"]


def test_blank_lines_keep_the_line_numbers(tmp_path: Path) -> None:
    """A blank line is no row, and the rows after it are numbered as an editor numbers them."""
    path = _file(tmp_path, "a.jsonl", b'\n{"text": "x"}\n\n{"text": "y"}')
    assert [row.number for row in read(path, "a")] == [2, 4]


def test_line_separators_inside_json_strings_do_not_end_a_row(tmp_path: Path) -> None:
    """U+2028 may stand unescaped in JSON, although str.splitlines() would split there."""
    line = json.dumps({"text": "a\u2028b"}, ensure_ascii=False) + "\n"
    (row,) = read(_file(tmp_path, "a.jsonl", line.encode()), "a")
    assert row.values["text"] == "a\u2028b"


def test_csv_cells_may_hold_line_breaks_and_long_texts(tmp_path: Path) -> None:
    """Quoted line breaks belong to the cell, and a cell may be longer than csv's own limit."""
    cell = "a\nb," + "x" * 200_000
    (row,) = read(_file(tmp_path, "a.csv", f'\ufefftext\r\n"{cell}"\r\n'.encode()), "a")
    assert row.values == {"text": cell}
