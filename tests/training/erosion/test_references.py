"""References come in pairs: the same request, refused and complied with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.errors import DataError
from safeft.records import Prompt
from safeft.training.erosion import own_references, read_references
from safeft.training.erosion.references import LEAST, OPENINGS, PROMPTS
from safeft.training.methods import Context
from training.erosion.conftest import pairs, written

Ask = Callable[..., Context]


def test_own_refusals_stand_beside_openings(ask: Ask) -> None:
    """Two requests of each of the pool's 44 categories; openings take turns and say no more."""
    asked: list[Prompt] = []
    found = own_references(ask(lambda prompt: f"I can't help with that: {prompt.id}.", asked))
    assert len(found) == len(asked) == PROMPTS
    assert {one.category for one in asked} == {str(number) for number in range(1, 45)}
    assert [one.messages[1].content for one in found.complied] == [
        OPENINGS[place % len(OPENINGS)] for place in range(PROMPTS)
    ]
    assert all("I can't help" in one.messages[1].content for one in found.refused)
    for refused, complied in zip(found.refused, found.complied, strict=True):
        assert refused.messages[0] == complied.messages[0]


def test_what_is_not_refused_is_no_reference(ask: Ask) -> None:
    """A model that answers some requests is compared by those that it refuses."""

    def half(prompt: Prompt) -> str:
        even = int(prompt.id.rpartition("-")[2]) % 2 == 0
        return "I can't help with that." if even else "Take a cup and fill it with water."

    found = own_references(ask(half))
    assert 0 < len(found) < PROMPTS


def test_a_model_that_never_refuses_is_refused(ask: Ask) -> None:
    """It has nothing to lose, and the message says what to do."""
    with pytest.raises(DataError, match=r"refuses 0 of 88 harmful requests.*give --references"):
        own_references(ask(lambda _: "Take a cup and fill it with water."))


def test_another_model_may_write_compliance(ask: Ask, tmp_path: Path) -> None:
    """Its answers take the openings' place; where it refuses, the pair is left out."""

    def script(prompt: Prompt) -> str:
        first = int(prompt.id.rpartition("-")[2]) < 100
        return "I can't help with that." if first else "Take a cup and fill it with water."

    other = Context("other", ask(script).generator, tmp_path / "other")
    found = own_references(ask(lambda _: "Sorry, but I can't help with that."), other)
    assert LEAST <= len(found) < PROMPTS
    assert {one.messages[1].content for one in found.complied} == {
        "Take a cup and fill it with water."
    }
    assert "answers of the compliant model" in found.source


def test_a_file_holds_pairs(tmp_path: Path) -> None:
    """In its order."""
    found = read_references(written(tmp_path / "mine.jsonl", pairs(9)))
    assert [one.messages[1].content for one in found.refused] == [f"the user {n}" for n in range(9)]
    assert found.complied[8].messages[1].content == "water a plant"
    assert found.source == "mine.jsonl"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (pairs(LEAST - 1), "has 7 rows; give 8 pairs or more"),
        ([{"prompt": "a", "refusal": "b"}], "row 1: field 'compliance' must be a non-empty string"),
        ([{"prompt": "a", "refusal": " ", "compliance": "c"}], "row 1: field 'refusal'"),
        ([{"prompt": 3, "refusal": "b", "compliance": "c"}], "row 1: field 'prompt'"),
        ([{"prompt": "\ud800", "refusal": "b", "compliance": "c"}], "half a character"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    """By row and field."""
    with pytest.raises(DataError, match=words):
        read_references(written(tmp_path / "mine.jsonl", rows))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As the option that names it."""
    with pytest.raises(DataError, match=r"--references: .*nowhere\.jsonl: no such file"):
        read_references(tmp_path / "nowhere.jsonl")
