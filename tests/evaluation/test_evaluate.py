"""A suite's evaluation: every set and decoding has its folder, and what is there is not redone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.evaluation import Suite, evaluate, replay, verdict_file, where
from safeft.judges import Judge
from safeft.records import Decoding, Prompt, Response
from safeft.runs import read_lines

Make = Callable[..., Any]
SUITE = Suite(
    name="small",
    kinds={"harm": "harm", "benign": "over_refusal"},
    prompts={
        key: tuple(Prompt.of(f"{key} {n}", f"small/{key}/{n}", str(n)) for n in range(3))
        for key in ("harm", "benign")
    },
    max_new_tokens=8,
)
DECODINGS = (Decoding(0.0, 0, 8), Decoding(0.7, 1, 8))
PLACES = {f"small/{key}/{name}" for key in ("harm", "benign") for name in ("t0", "t0.7-s1")}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, by its relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def never() -> Any:
    raise AssertionError("what is finished is not loaded")


def test_every_set_and_decoding_has_its_files(fake: Make, reader: Make, tmp_path: Path) -> None:
    """Responses once per place, verdicts once per judge, under the documented names."""
    made, judge = fake(), reader()
    judges: dict[str, Callable[[], Judge]] = {"one": lambda: judge, "two": lambda: judge}
    evaluate(lambda: made, SUITE, DECODINGS, judges, tmp_path)
    names = ("responses.none.jsonl", "verdicts.one.none.jsonl", "verdicts.two.none.jsonl")
    assert set(files(tmp_path)) == {f"{place}/{name}" for place in PLACES for name in names}
    place = where(tmp_path, SUITE, "harm", DECODINGS[1])
    records = read_lines(place / verdict_file("two", "none"))
    assert {record["id"] for record in records} == {one.id for one in SUITE.prompts["harm"]}


def test_a_second_evaluation_does_nothing(fake: Make, reader: Make, tmp_path: Path) -> None:
    """Finished places load neither generator nor judge, and keep every byte."""
    evaluate(fake, SUITE, DECODINGS, {"one": reader}, tmp_path)
    before = files(tmp_path)
    evaluate(never, SUITE, DECODINGS, {"one": never}, tmp_path)
    assert files(tmp_path) == before


def test_verdicts_without_responses_are_finished(fake: Make, reader: Make, tmp_path: Path) -> None:
    """Committed results carry no model's words: they are not generated again."""
    evaluate(fake, SUITE, DECODINGS, {"one": reader}, tmp_path)
    for path in tmp_path.rglob("responses.*"):
        path.unlink()
    before = files(tmp_path)
    evaluate(never, SUITE, DECODINGS, {"one": never}, tmp_path)
    assert files(tmp_path) == before


def test_another_judge_reads_what_is_stored(fake: Make, reader: Make, tmp_path: Path) -> None:
    """Judging again needs no generator, and leaves the first judge's files alone."""
    evaluate(fake, SUITE, DECODINGS, {"one": reader}, tmp_path)
    before = files(tmp_path)
    evaluate(never, SUITE, DECODINGS, {"one": never, "two": reader}, tmp_path)
    after = files(tmp_path)
    assert before.items() <= after.items()
    assert {name for name in after if name not in before} == {
        f"{place}/verdicts.two.none.jsonl" for place in PLACES
    }


def test_a_policy_has_files_of_its_own(fake: Make, reader: Make, tmp_path: Path) -> None:
    """Guarded answers stand beside the unguarded ones and never replace them."""
    evaluate(fake, SUITE, DECODINGS[:1], {"one": reader}, tmp_path)
    before = files(tmp_path)
    evaluate(fake, SUITE, DECODINGS[:1], {"one": reader}, tmp_path, policy="strict")
    after = files(tmp_path)
    assert before.items() <= after.items()
    assert f"small/harm/t0/{verdict_file('one', 'strict')}" in after
    assert len(after) == 2 * len(before)


def test_without_a_judge_the_model_is_still_asked(fake: Make, tmp_path: Path) -> None:
    """No judge is no reason to call an unasked suite finished."""
    evaluate(fake, SUITE, DECODINGS, {}, tmp_path)
    assert set(files(tmp_path)) == {f"{place}/responses.none.jsonl" for place in PLACES}


def test_an_interrupted_evaluation_ends_in_the_same_files(
    fake: Make, reader: Make, interrupted: type[Exception], tmp_path: Path
) -> None:
    """Failing anywhere, in a generator or a judge, and run again, the files are the same."""
    evaluate(fake, SUITE, DECODINGS, {"one": reader}, tmp_path / "whole")
    for fails in range(4):
        for broken in ("generator", "judge"):
            folder = tmp_path / f"{broken}-{fails}"
            made = fake(fails if broken == "generator" else None)
            judge = reader(fails if broken == "judge" else None)
            with pytest.raises(interrupted):
                evaluate(lambda g=made: g, SUITE, DECODINGS, {"one": lambda j=judge: j}, folder)
            evaluate(fake, SUITE, DECODINGS, {"one": reader}, folder)
            assert files(folder) == files(tmp_path / "whole")


def test_replay_answers_what_was_answered() -> None:
    """A replayed generator gives the stored responses in the order asked, and nothing new."""
    prompts = SUITE.prompts["harm"]
    answers = [Response(prompt, f"to {prompt.id}", "length", 2) for prompt in prompts]
    again = replay(answers, "m", "transformers")
    assert (again.name, again.engine) == ("m", "transformers")
    assert again(prompts[::-1], DECODINGS[0]) == answers[::-1]
