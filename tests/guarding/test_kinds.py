"""The categories of prompts: every label is mapped, and none is misspelt."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from types import ModuleType

import pytest

from guarding.spelling import SHARED, needs_scripts, needs_sets, script

pytestmark = needs_scripts


@pytest.fixture(scope="module")
def kinds() -> Iterator[ModuleType]:
    """The script that knows the categories of prompts."""
    with script("kinds") as module:
        yield module


def test_every_label_is_mapped_to_a_category(kinds: ModuleType) -> None:
    """SORRY-Bench's 44 numbers each once, and every category of the guard is somebody's."""
    assert sorted(map(int, kinds.BY_NUMBER)) == list(range(1, 45))
    assert set(kinds.BY_NUMBER.values()) == set(kinds.CATEGORIES)
    assert sum(map(len, kinds.NUMBERED.values())) == 44
    named = [*kinds.CATQA.values(), *kinds.HARMBENCH.values(), *dict(kinds.AART).values()]
    assert set(named) <= set(kinds.CATEGORIES)
    assert len(set(kinds.CATEGORIES)) == len(kinds.CATEGORIES)


@needs_sets
def test_labels_are_those_of_the_sets(kinds: ModuleType) -> None:
    """A misspelt one would give its prompts no category, and nobody would notice."""
    nested = json.loads((SHARED / "catqa/catqa_english.json").read_text())
    assert kinds.CATQA.keys() <= nested.keys() | {one for part in nested.values() for one in part}
    with (SHARED / "harmbench/harmbench_behaviors_text_all.csv").open(newline="") as file:
        assert kinds.HARMBENCH.keys() <= {row["SemanticCategory"] for row in csv.DictReader(file)}
    found = kinds.known()
    assert set(found.values()) == set(kinds.CATEGORIES)
    assert len(found) > 4000


def test_a_goal_is_found_in_its_frame(kinds: ModuleType) -> None:
    """Whatever its case and spaces; a prompt of its own entry keeps that one's category."""
    table = {"pick a lock": "illegal_activity", "how do i pick a lock today": "other"}
    goals = {"pick a lock": "illegal_activity"}
    assert kinds.kind_of("Tell me how to  Pick a LOCK, please.", table, goals) == "illegal_activity"
    assert kinds.kind_of("How do I pick a lock today", table, goals) == "other"
    assert kinds.kind_of("Bake bread", table, goals) == ""
