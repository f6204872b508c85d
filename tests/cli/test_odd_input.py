"""Files and names that nobody writes on purpose: one message with the place, and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import call, message, refused

from cli.conftest import Job

DEEP = '{"text": ' + "[" * 50_000 + "]" * 50_000 + "}"
LONG = '{"text": "x", "n": ' + "1" * 6000 + "}"
HALF = "\\ud800"
ROW = {"question_id": 1, "category": "7", "turns": ["What?"]}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", DEEP, "a.jsonl, row 1: is nested too deeply"),
        ("a.json", f"[{DEEP}]", "a.json: is nested too deeply"),
        ("a.jsonl", LONG, "a.jsonl, row 1: holds a number of too many digits"),
        ("a.json", f"[{LONG}]", "a.json: holds a number of too many digits"),
        (
            "a.jsonl",
            f'{{"text": "x {HALF}"}}',
            r"row 1, field 'text': holds half a character (\ud8",
        ),
        (
            "a.jsonl",
            f'{{"messages": [{{"role": "user", "content": "{HALF}"}}]}}',
            "row 1, field 'messages[0].content': holds half a character",
        ),
        ("a.jsonl", f'{{"text": "x", "{HALF}": 1}}', r"row 1: the column '\ud800' holds half"),
        ("a.csv", 'messages\n"' + "[" * 50_000 + '"\n', "field 'messages': is not a JSON list"),
    ],
)
def test_rows_that_python_cannot_hold(tmp_path: Path, name: str, content: str, words: str) -> None:
    """Too deep, too long a number, or half a character: by file, row and field."""
    (tmp_path / name).write_text(content)
    assert words in refused("data", "preview", tmp_path / name)


def test_half_a_character_can_be_skipped(tmp_path: Path) -> None:
    """It is a broken row like any other."""
    (tmp_path / "a.jsonl").write_text(f'{{"text": "x {HALF}"}}\n{{"text": "whole"}}\n')
    said = call("data", "preview", tmp_path / "a.jsonl", "--skip-broken")
    assert (said.code, "1 broken rows left out" in said.err) == (0, True)


@pytest.mark.parametrize("field", ["turns", "category", "question_id"])
def test_half_a_character_in_a_suite(tmp_path: Path, field: str) -> None:
    """It is found when the suite is read, before a model is loaded."""
    row = ROW | {field: ["What \ud800?"] if field == "turns" else "\ud800"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    suite = tmp_path / "mine.yaml"
    suite.write_text("name: mine\nsets: {harm: {kind: harm, prompts: rows.jsonl}}\n")
    said = refused("eval", "testbed:aligned", "--suite", suite, "--output", tmp_path / "run")
    assert f"row 1: field {field!r} holds half a character" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["prompt", "category", "domain", "response"])
def test_half_a_character_in_a_pool(job: Job, tmp_path: Path, field: str) -> None:
    """Rows that a recipe mixes in are read with the same care."""
    pool = tmp_path / "pool.jsonl"
    row = {"prompt": "A?", "category": "7", "domain": "d", "response": "No."} | {field: "\ud800"}
    pool.write_text(json.dumps(row))
    mine = Job(Path("safety_mix"), job.data, job.model)
    said = refused(*mine.arguments(tmp_path / "run", "--set", f"methods.0.pool={pool}"))
    assert f"row 1: field {field!r} holds half a character" in said


def test_a_data_folder_with_a_broken_card(tmp_path: Path) -> None:
    """The card decides which files are read, so it is named."""
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "README.md").write_text("---\nconfigs: [unclosed\n---\n")
    said = refused("data", "preview", tmp_path)
    assert "README.md begins with broken YAML" in said


def test_names_that_are_too_long(tmp_path: Path) -> None:
    """Of data and of an output."""
    name = "x" * 300
    assert "the name is too long" in refused("data", "preview", tmp_path / f"{name}.jsonl")
    said = refused("export", tmp_path, "--model", "m", "--output", tmp_path / name)
    assert "the name is too long; choose a shorter one" in said


def test_links_that_lead_nowhere(job: Job, tmp_path: Path) -> None:
    """A link to itself, as data and as output, and a link to what is gone."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dead").symlink_to(tmp_path / "gone")
    assert "loop" in refused("data", "preview", tmp_path / "loop")
    for name in ("loop", "dead"):
        said = refused(*job.arguments(tmp_path / name))
        assert "choose another" in said


@pytest.mark.parametrize("name", ["a\0b", "a\udcffb"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    """A zero byte, or bytes that are not UTF-8."""
    said = call("export", tmp_path, "--model", "m", "--output", f"{tmp_path}/{name}")
    assert "holds a zero byte, or is not UTF-8" in message(said.code, said.err)
