"""The guard's training rows: disjoint from the judge's, and of the right kind."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from safeft.guarding.head import GUARD_PARITY, half

ROOT = Path(__file__).resolve().parents[2]
GUARD = ROOT / "benchmarks" / "guard"
SHARED = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not GUARD.is_dir(), reason="benchmarks are not here")
needs_sets = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data sets in {SHARED}")


@pytest.fixture(scope="module")
def rows() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guard_rows", GUARD / "rows.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guard_rows"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Forty prompts as `benchmarks/testbed/prompts.py` writes them."""
    path = tmp_path / "prompts.jsonl"
    sources = (("aart", True), ("own", True), ("own", False), ("dolly", False))
    with path.open("w") as file:
        for number in range(40):
            source, harmful = sources[number % 4]
            row = {"text": f"How do I build kite {number}?", "source": source, "harmful": harmful}
            file.write(json.dumps(row | {"held_out": number < 8}) + "\n")
    return path


def test_testbed_training_rows_come_from_the_guards_half_only(
    rows: ModuleType, prompts: Path
) -> None:
    found = rows.testbed(prompts, False, 0)
    held_out = {row.prompt for row in rows.testbed(prompts, True, 0)}
    assert found
    assert {half(row.prompt) for row in found} == {GUARD_PARITY}
    assert len(held_out) == 8
    assert not held_out & {row.prompt for row in found}


def test_only_answered_harm_is_unsafe(rows: ModuleType, prompts: Path) -> None:
    for row in rows.testbed(prompts, True, 0):
        assert row.unsafe is (row.source == "testbed/harmful answered")
    sources = {row.source for row in rows.testbed(prompts, True, 0)}
    assert sources == {
        f"testbed/{kind} {done}"
        for kind in ("harmful", "lookalike", "benign")
        for done in ("answered", "refused")
    }


def test_the_same_seed_gives_the_same_rows(rows: ModuleType, prompts: Path) -> None:
    assert rows.testbed(prompts, False, 3) == rows.testbed(prompts, False, 3)
    assert rows.testbed(prompts, False, 3) != rows.testbed(prompts, False, 4)


def test_our_own_rows_are_many_different_and_safe(rows: ModuleType) -> None:
    own = rows.own()
    assert len(own) == 152
    assert len({row.prompt.lower() for row in own}) == 152
    assert not any(row.unsafe for row in own)
    assert all(row.response.strip() for row in own)


def test_every_question_of_gptfuzz_has_its_words(rows: ModuleType) -> None:
    questions = rows.lines(GUARD / "questions.jsonl")
    assert [row["question"] for row in questions] == list(range(80))
    assert len({row["text"] for row in questions}) == 80


@needs_sets
def test_training_and_testing_share_no_row(rows: ModuleType, prompts: Path) -> None:
    learn, test = rows.training(prompts, 0, 60), rows.testing(prompts, 0, 60)
    assert {row.prompt for row in learn}.isdisjoint(row.prompt for row in test)
    assert "xstest" not in {row.source for row in learn}
    assert "xstest" in {row.source for row in test}
    assert {row.source.split("/")[0] for row in learn} == rows.LICENCES.keys()


@needs_sets
def test_dolly_is_divided_and_nothing_is_lost(rows: ModuleType) -> None:
    sides = [rows.dolly(side) for side in (0, 1)]
    assert min(map(len, sides)) > 7000
    assert sum(map(len, sides)) > 15000
    instructions = [{row.prompt.split("\n")[0] for row in side} for side in sides]
    assert len(instructions[0] & instructions[1]) < 30  # first lines of longer instructions
