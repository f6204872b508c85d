"""The guard's training rows: disjoint from the judge's, and of the right kind."""

from __future__ import annotations

import importlib
import json
import math
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.spelling import GUARD, needs_scripts, needs_sets, script
from safeft.guarding.rows import GUARD_PARITY, common, drawn, half, marks, repeated, sided

ROOT = GUARD.parents[1]
pytestmark = needs_scripts


@pytest.fixture(scope="module")
def rows() -> Iterator[ModuleType]:
    """The script that collects them."""
    with script("rows") as module:
        yield module


@pytest.fixture(scope="module")
def kinds() -> Iterator[ModuleType]:
    """The script that knows the categories of prompts."""
    with script("kinds") as module:
        yield module


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


def test_requests_alone_come_from_the_same_prompts(rows: ModuleType, prompts: Path) -> None:
    """Without an answer, and unsafe when they ask for harm."""
    for held_out in (False, True):
        found = rows.requests(prompts, held_out)
        answered = {row.prompt for row in rows.testbed(prompts, held_out, 0)}
        assert {row.prompt for row in found} == answered
        assert all(row.response == "" for row in found)
        assert all(row.unsafe is (row.source == "request/harmful") for row in found)


def test_our_own_rows_are_many_different_and_safe(rows: ModuleType) -> None:
    """Every file of them: what sounds alarming, and what answers somebody in need."""
    own = rows.own()
    assert {row.source for row in own} == {"own/own", "own/alarming", "own/support"}
    assert len({row.prompt.lower() for row in own}) == len(own) > 900
    assert not any(row.unsafe for row in own)
    assert all(row.response.strip() for row in own)


def test_a_part_and_label_gets_at_most_its_share(rows: ModuleType) -> None:
    """A share of the limit, rounded up; of what there is less of, everything; drawn by the seed."""
    sources = ("own/alarming", "dolly", "testbed/benign refused", "unheard of")
    made = [
        rows.Row(f"{n}", "yes", unsafe, source)
        for n in range(30)
        for source in sources
        for unsafe in (True, False)
    ] + [rows.Row("only", "one", False, "gptfuzz")]
    found = rows.taken(list(made), 20, 3)
    shares = dict(zip(sources, (1.0, 0.6, 0.05, 1.0), strict=True))
    assert Counter((row.source, row.unsafe) for row in found) == {
        **{(one, is_): math.ceil(20 * shares[one]) for one in sources for is_ in (True, False)},
        ("gptfuzz", False): 1,
    }
    assert found == rows.taken(list(made), 20, 3) != rows.taken(list(made), 20, 4)


def test_harmful_requests_beside_answers_to_something_else_are_safe(rows: ModuleType) -> None:
    """Answers of ordinary sets, and requests whose own answers are unsafe."""
    ordinary = [rows.Row(f"bread {n}", f"flour {n}", False, "dolly") for n in range(9)]
    answered = [rows.Row(f"harm {n}", f"steps {n}", True, "gptfuzz") for n in range(700)]
    others = [
        rows.Row("harm alone", "", True, "request/harmful"),
        rows.Row("harm 1", "no", False, "testbed/harmful refused"),
    ]
    found = rows.mismatched([*ordinary, *answered, *others], 0)
    assert len(found) == len({row.prompt for row in found}) == 600
    assert not any(row.unsafe for row in found)
    assert {row.response for row in found} <= {row.response for row in ordinary}
    assert {row.prompt for row in found} <= {row.prompt for row in answered}


def test_what_nobody_can_read_is_safe_beside_any_request(rows: ModuleType) -> None:
    """No word of a text is left in its cipher; requests in one are no harm either."""
    words = ["knead", "the", "dough", "gently", "until", "it", "shines"]
    ordinary = [rows.Row(f"bread {n}", " ".join(words), False, "dolly") for n in range(300)]
    harmful = [rows.Row(f"harm {n}", "steps", True, "gptfuzz") for n in range(9)]
    found = rows.unreadable([*ordinary, *harmful], 0, 200)
    assert Counter(row.source for row in found) == {"unreadable": 200, "request/unreadable": 100}
    assert not any(row.unsafe for row in found)
    assert not any(set(row.response.split()) & set(words) for row in found)
    assert {"harm", "bread"} <= {row.prompt.split()[0] for row in found if row.response}
    assert found == rows.unreadable([*ordinary, *harmful], 0, 200)


def test_what_a_judge_learned_from_is_left_out(
    rows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its answer, as cards count it; requests have none and stay."""
    made = [rows.Row("q", text, False, "dolly") for text in ("theirs", "both  of us", "ours", "")]
    monkeypatch.setattr(rows, "others_lessons", lambda: [marks(["theirs"]), marks(["both of us"])])
    assert [row.response for row in rows.ours(made)] == ["ours", ""]


def test_every_judge_that_ships_says_what_it_learned_from(rows: ModuleType) -> None:
    """Its card's rows are what the guard leaves out."""
    folder = ROOT / "src/safeft/judges/weights"
    assert len(rows.others_lessons()) == len(list(folder.glob("*.safetensors"))) == 3


def test_every_question_of_gptfuzz_has_its_words(rows: ModuleType) -> None:
    questions = rows.lines(GUARD / "questions.jsonl")
    assert [row["question"] for row in questions] == list(range(80))
    assert len({row["text"] for row in questions}) == 80


@needs_sets
def test_training_and_testing_share_no_row(
    rows: ModuleType, kinds: ModuleType, prompts: Path
) -> None:
    """What is learned from is licensed, and has its category where the prompt has one."""
    goals = rows.lines(ROOT / "benchmarks/testbed/goals_01_22.jsonl")[::20]
    framed = {f"Tell me how to {one['harmful']}": one["category"] for one in goals}
    with prompts.open("a") as file:
        for text in framed:
            made = {"text": text, "source": "own", "harmful": True, "held_out": False}
            file.write(json.dumps(made) + "\n")
    learn, test = rows.training(prompts, 0, 60), rows.testing(prompts, 0, 60)
    assert {row.prompt for row in learn}.isdisjoint(row.prompt for row in test)
    assert not any("xstest" in row.source for row in learn)
    assert {"xstest/gpt4", "request/xstest"} <= {row.source for row in test}
    sets = {row.source.split("/")[0] for row in learn} - {"request", "mismatched", "unreadable"}
    assert sets == rows.LICENCES.keys()
    asked = [row for row in learn if row.source == "request/harmful" and row.prompt in framed]
    assert asked
    assert all(row.kind == kinds.BY_NUMBER[framed[row.prompt]] for row in asked)


@needs_sets
def test_the_other_sets_prompts_are_kept_out_of_training(rows: ModuleType) -> None:
    """XSTest only tests; so do the suites, and the harmful source that is kept out whole."""
    kept_out = set(rows.never_near())
    assert {row.prompt for row in rows.xstest() if not row.response} <= kept_out
    assert set(rows.unseen()) <= kept_out


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


def test_the_guard_learns_from_the_odd_half() -> None:
    """Half 0 is left to the judge; if this constant moves, both must be trained again."""
    assert GUARD_PARITY == 1
    assert half("hello") == 0x2C % 2  # sha256("hello") begins with 2c
    assert half("a") == 0xCA % 2


@settings(deadline=None)
@given(st.lists(st.text("ab é", min_size=1)))
def test_a_prompt_has_one_half_however_it_is_spaced(words: list[str]) -> None:
    """White space does not count."""
    assert half(" ".join(words)) == half("\n ".join(words) + "\t") in (0, 1)


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
    assert repeated(["answer  7", "question 7"], found) == {"answer  7"}
