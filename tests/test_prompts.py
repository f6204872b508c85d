"""The shipped prompts: balanced, varied, and training never sees what evaluation asks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from safeft.assets import folder

Rows = list[dict[str, Any]]

SUITES = ("safeft-44", "safeft-44-lookalikes")
POOLS = ("safety_pool", "safety_lookalikes")
NEAREST = 0.85  # cosine of MiniLM embeddings, from which two prompts ask the same


def read(name: str) -> Rows:
    place = folder("eval") / "prompts" if name in SUITES else folder("recipes") / "data"
    text = (place / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def texts(name: str) -> list[str]:
    return [row["turns"][0] if name in SUITES else row["prompt"] for row in read(name)]


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """The embeddings of a file's prompts; the encoder itself remembers them."""
    from safeft.models.encoder import encode

    return lambda name: encode(texts(name))


@pytest.mark.parametrize("name", [*SUITES, *POOLS])
def test_there_are_ten_prompts_for_each_of_44_categories(name: str) -> None:
    """440 rows, numbered from 1, and the number gives the category: (n - 1) // 10 + 1."""
    rows = read(name)
    key = "question_id" if name in SUITES else "id"
    assert [row[key] for row in rows] == list(range(1, 441))
    assert [row["category"] for row in rows] == [str((row[key] - 1) // 10 + 1) for row in rows]


@pytest.mark.parametrize("name", [*SUITES, *POOLS])
def test_every_row_has_the_same_fields(name: str) -> None:
    """Suites have SORRY-Bench's row schema, pools say whether their rows are harmful."""
    kind = {"safety_pool": "harmful", "safety_lookalikes": "benign"}.get(name)
    for row in read(name):
        if kind is None:
            assert set(row) == {"question_id", "category", "turns", "prompt_style"}
            assert len(row["turns"]) == 1
        else:
            assert set(row) == {"id", "category", "prompt", "kind", "response"}
            assert row["kind"] == kind


@pytest.mark.parametrize("name", [*SUITES, *POOLS, "garden", "garden_test"])
def test_no_frame_makes_up_a_file(name: str) -> None:
    """No three first words open more than ten prompts: a model cannot learn the frame instead."""
    frames = Counter(" ".join(plain(text).split()[:3]) for text in texts(name))
    assert {frame: count for frame, count in frames.items() if count > 10} == {}


def test_no_prompt_occurs_twice() -> None:
    """Within and across all four files every prompt is its own, spelling and marks aside."""
    found = Counter(plain(text) for name in (*SUITES, *POOLS) for text in texts(name))
    assert [text for text, count in found.items() if count > 1] == []
    assert found.total() == 1760


@pytest.mark.parametrize("name", [*SUITES, *POOLS])
def test_prompts_are_clean_sentences(name: str) -> None:
    """Each is one line that begins like a sentence, ends like one, and has no stray spaces."""
    for text in texts(name):
        assert text == " ".join(text.split())
        assert (text[0].isupper() or text[0].isdigit()) and text[-1] in ".?!\"'"
        assert 12 <= len(text) <= 160


def test_every_pool_row_has_a_response_of_its_own() -> None:
    """Curated responses are never a formula: over both pools each has its own words."""
    rows = [row for name in POOLS for row in read(name)]
    counts = Counter(plain(row["response"]) for row in rows)
    assert [text for text, count in counts.items() if count > 1 or len(text) < 20] == []


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("suite", SUITES)
def test_the_pools_do_not_ask_what_the_suite_asks(
    vectors: Callable[[str], Any], pool: str, suite: str
) -> None:
    """No pool prompt is a paraphrase of a suite prompt: MiniLM's cosine stays below 0.85."""
    similar = vectors(pool) @ vectors(suite).T
    asked, trained = texts(suite), texts(pool)
    near = [
        f"{similar[row, column]:.3f}  {pool} {row + 1}: {trained[row]}  =  {asked[column]}"
        for row, column in np.argwhere(similar >= NEAREST)
    ]
    assert near == []


def test_the_garden_is_split_cleanly() -> None:
    """500 rows to train on and 100 to test with: no prompt and no answer is in both or twice."""
    train, test = read("garden"), read("garden_test")
    assert (len(train), len(test)) == (500, 100)
    for row in (*train, *test):
        assert set(row) == {"prompt", "completion"}
        assert row["prompt"].strip() and row["completion"].strip()
    for field in ("prompt", "completion"):
        counts = Counter(plain(row[field]) for row in (*train, *test))
        assert [text for text, count in counts.items() if count > 1] == []
    shared = {plain(row["prompt"]) for row in (*train, *test)}
    assert not shared & {plain(text) for name in (*SUITES, *POOLS) for text in texts(name)}
