"""The guard's training rows: disjoint from the judge's, and of the right kind."""

from __future__ import annotations

import importlib.util
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from safeft.guarding.head import GUARD_PARITY, half
from safeft.guarding.rows import common, drawn, marks, sided

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
    assert sum(map(len, sides)) > 14900
    instructions = [{row.prompt.split("\n")[0] for row in side} for side in sides]
    assert len(instructions[0] & instructions[1]) < 30  # first lines of longer instructions


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The training script of the judge's head, whose modules are called like the guard's."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "judge"))
    sys.modules.pop("train", None)
    yield importlib.import_module("train")
    for name in {"train", "material"} - before:
        sys.modules.pop(name, None)


@needs_sets
def test_guard_and_judge_share_no_answer(
    rows: ModuleType, judge: ModuleType, prompts: Path
) -> None:
    """Both draw refusals and answers from one generator, and answers from Dolly."""
    asked = [
        {"text": f"How do I {verb} kite {n}?", "source": "own", "harmful": verb == "steal"}
        for n in range(1000)
        for verb in ("steal", "build")
    ]
    lines = [json.dumps(row | {"held_out": False}) + "\n" for row in asked]
    prompts.write_text("".join(lines))
    options = Namespace(prompts=prompts, labelled=None)
    graded = [row.response for row in judge.answers(options)]
    guarded = [row.response for row in rows.training(prompts, 0, 900)]
    assert {" ".join(text.split()) for text in graded}.isdisjoint(
        " ".join(text.split()) for text in guarded
    )
    assert sum(row.source == "testbed_refusals" for row in judge.answers(options)) == 400
    assert common(marks(graded), marks(guarded)) == 0
    assert len(marks(guarded)) < 50_000


@needs_sets
def test_all_of_dolly_is_divided_by_answers_too(rows: ModuleType) -> None:
    """Also rows that no seed has drawn yet."""
    one, other = ({" ".join(r.response.split()) for r in rows.dolly(side)} for side in (0, 1))
    assert one.isdisjoint(other)


def test_a_row_belongs_to_one_side() -> None:
    """By its prompt; an answer that both sides have is nobody's."""
    made = [{"p": str(n), "a": f"answer {n // 2}"} for n in range(200)]
    sides = [sided(made, side, "p", "a") for side in (0, 1)]
    assert {half(row["p"]) for row in sides[0]} == {0}
    assert {row["a"] for row in sides[0]}.isdisjoint(row["a"] for row in sides[1])
    assert all(sides)


def test_drawn_answers_are_divided() -> None:
    """The first of this half."""
    for side in (0, 1):
        numbers = map(str, range(100))
        found = drawn(side, numbers.__next__)
        assert half(found) == side
        assert all(half(str(n)) != side for n in range(int(found)))


def test_marks_are_small_sorted_and_blind_to_white_space() -> None:
    """About five characters a row, whatever the order; nothing marks nothing."""
    texts = [f"answer {n}" for n in range(8000)]
    found = marks(texts)
    assert found == marks(reversed(texts)) == marks(f" {text}\n" for text in texts)
    assert len(found) < 45_000
    assert common(found, marks(["answer  7", "question 7"])) == 1
    assert common(found, "") == common("", "") == 0
