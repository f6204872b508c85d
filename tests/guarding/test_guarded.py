"""Laws of the guarded generator: what leaves was cleared, in order, whatever the judge does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.reading import REFUSAL, Reading, checking, having, prompts, raising, windows
from safeft.generation.generator import Generator
from safeft.generation.scripted import Scripted
from safeft.guarding import Guarded
from safeft.guarding.decision import Decision
from safeft.guarding.releasing import redrawn
from safeft.records import Decoding, Message, Prompt, Response

GREEDY, WARM = Decoding(), Decoding(0.7, 5)
LONG = (
    "First comes one sentence of some length. Then comes bad news in another one. The end is near."
)


class Counting(Scripted):
    """Keeps what it was asked."""

    def __init__(self, script: Callable[[Prompt, Decoding], str]) -> None:
        super().__init__(script, name="echo")
        self.asked: list[tuple[str, int]] = []

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        self.asked += [(one.text, decoding.seed) for one in prompts]
        return super().__call__(prompts, decoding)


def echo() -> Counting:
    return Counting(lambda prompt, decoding: f"answer to {prompt.text}")


def always(text: str) -> Counting:
    return Counting(lambda prompt, decoding: text)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.4, 0.6, None, "raise"])), st.sampled_from(["closed", "open"])
)
def test_what_leaves_was_cleared(marks: list[Any], on_error: str) -> None:
    """Whatever the judge makes of each answer; only `on_error: open` lets an unread one out."""

    def score(text: str) -> Any:
        mark = marks[int(text.removeprefix("answer to "))]
        return raising(text) if mark == "raise" else mark

    asked = prompts(*map(str, range(len(marks))))
    guarded = Guarded(echo(), checking(Reading(score), output={"on_error": on_error}))
    answers = guarded(asked, GREEDY)
    assert [one.prompt for one in answers] == asked
    for mark, asked_one, answer in zip(marks, asked, answers, strict=True):
        if mark in (0.0, 0.4) or (mark in (None, "raise") and on_error == "open"):
            assert answer == Response(asked_one, f"answer to {asked_one.text}", tokens=3)
        else:
            assert answer == Response(asked_one, REFUSAL, "withheld")


def test_guarded_is_a_generator_and_keeps_name_and_engine() -> None:
    """Whoever asks it need not know that it is one."""
    guarded: Generator = Guarded(echo(), checking(having()))
    assert (guarded.name, guarded.engine) == ("echo", "scripted")


def test_guards_nest() -> None:
    """What the inner one withheld stays so, and the outer one reads what is said instead."""
    inner = Guarded(echo(), checking(having("answer")))
    outer = having("answer")
    answers = Guarded(inner, checking(outer))(prompts("a"), GREEDY)
    assert [(one.text, one.finish) for one in answers] == [(REFUSAL, "withheld")]
    assert outer.read == [[REFUSAL]]


def test_a_blocked_prompt_is_never_asked() -> None:
    """And its answer is withheld, in its place among the others."""
    generator = echo()
    guarded = Guarded(generator, checking(having("bad"), input={}))
    answers = guarded(prompts("one", "bad", "two"), GREEDY)
    assert generator.asked == [("one", 0), ("two", 0)]
    assert [one.text for one in answers] == ["answer to one", REFUSAL, "answer to two"]
    assert [one.finish for one in answers] == ["stop", "withheld", "stop"]


def test_nothing_asked_is_nothing_judged() -> None:
    """Nor is the generator asked for nothing, also when every prompt is blocked."""
    judge, generator = having("bad"), echo()
    guarded = Guarded(generator, checking(judge, input={}))
    assert guarded([], GREEDY) == []
    assert judge.read == []
    assert [one.finish for one in guarded(prompts("bad"), GREEDY)] == ["withheld"]
    assert generator.asked == []


def test_all_windows_of_all_answers_are_read_in_one_check() -> None:
    """In the windows in which they would be streamed, each with its own conversation."""
    judge = having()
    texts = [LONG, "short", LONG + LONG]
    script = Scripted(lambda prompt, decoding: texts[int(prompt.id)])
    Guarded(script, checking(judge, output={"window": 8, "first_window": 4}))(
        prompts("a", "b", "c"), GREEDY
    )
    expected = [
        (prompt.id, window.read)
        for prompt, text in zip(prompts("a", "b", "c"), texts, strict=True)
        for window in windows(text, 8, 4)
    ]
    assert len(expected) > 10
    assert [list(zip((one.id for one in judge.seen), *judge.read, strict=True))] == [expected]


def test_an_answer_without_a_word_needs_no_reading() -> None:
    """There is nothing to hold back."""
    judge = Reading(raising)
    assert Guarded(always(""), checking(judge))(prompts("a"), GREEDY)[0].text == ""
    assert judge.read == []


@pytest.mark.parametrize(
    ("action", "text", "finish"),
    [
        ("block", REFUSAL, "withheld"),
        ("replace", REFUSAL, "stop"),
        ("redact", "First comes one sentence of some length.[removed] The end is near.", "stop"),
        ("log", LONG, "stop"),
        ("allow", LONG, "stop"),
    ],
)
def test_each_action_does_what_it_says(action: str, text: str, finish: str) -> None:
    """To an answer one of whose windows is unsafe; nothing of the former answer is kept."""
    keys = {"action": action, "window": 16, "overlap": 0}
    (found,) = Guarded(always(LONG), checking(having("bad"), output=keys))(prompts("a"), GREEDY)
    assert (found.text, found.finish) == (text, finish)
    assert (found.tokens == 0) is (text == REFUSAL)


def test_an_answer_is_asked_for_again_with_other_seeds() -> None:
    """Until one is cleared; only those that need it, each time with a seed of its own."""
    good = redrawn(WARM, 2).seed
    generator = Counting(
        lambda prompt, decoding: "good" if decoding.seed == good or prompt.text == "a" else "bad"
    )
    guarded = Guarded(generator, checking(having("bad"), output={"action": "regenerate"}))
    answers = guarded(prompts("a", "b"), WARM)
    assert [(one.text, one.finish) for one in answers] == [("good", "stop"), ("good", "stop")]
    assert generator.asked == [("a", 5), ("b", 5), ("b", redrawn(WARM, 1).seed), ("b", good)]


@pytest.mark.parametrize(("decoding", "calls"), [(WARM, 4), (GREEDY, 1)])
def test_an_answer_that_is_never_cleared_is_withheld(decoding: Decoding, calls: int) -> None:
    """After as many times as the policy says; at temperature 0 at once, as nothing would differ."""
    generator = always("bad")
    keys = {"action": "regenerate", "regenerate": 3}
    (found,) = Guarded(generator, checking(having("bad"), output=keys))(prompts("a"), decoding)
    assert (found.text, found.finish) == (REFUSAL, "withheld")
    assert len(generator.asked) == calls


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_other_seeds_are_documented_and_far_from_those_in_use(seed: int, attempt: int) -> None:
    """Only the seed changes, the same way each time, and no two are alike."""
    found = redrawn(Decoding(0.7, seed, 9, 0.9), attempt)
    assert found == redrawn(Decoding(0.7, seed, 9, 0.9), attempt)
    assert found == Decoding(0.7, found.seed, 9, 0.9)
    assert 0 <= found.seed < 2**31
    assert len({redrawn(WARM, one).seed for one in range(1, 50)}) == 49


def test_a_cut_off_answer_keeps_its_finish() -> None:
    """And whatever else the generator says of an answer that leaves."""

    class CutOff(Scripted):
        def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
            return [Response(prompt, "and then", "length", 2, "fp") for prompt in prompts]

    guarded = Guarded(CutOff(lambda p, d: ""), checking(having()))
    assert guarded(prompts("a"), GREEDY) == [
        Response(prompts("a")[0], "and then", "length", 2, "fp")
    ]


def test_the_judge_sees_the_last_turns() -> None:
    """As many as the policy says, the request last; the generator sees all."""
    turns = tuple(Message(*one) for one in [("user", "1"), ("assistant", "2"), ("user", "3")])
    judge = having()
    Guarded(echo(), checking(judge, input={}, turns=2))([Prompt("p", turns)], GREEDY)
    assert [one.messages for one in judge.seen] == [turns[-2:], turns[-2:]]


def test_every_decision_is_told_to_who_watches() -> None:
    """In order, requests first, up to the window that stopped an answer."""
    told: list[tuple[Decision, Response]] = []
    judge = Reading(lambda text: {"harm": 0.9 if "bad" in text else 0.1}, categories=["harm"])
    keys = {"window": 16, "overlap": 0}
    made = checking(judge, output=keys, input={})
    Guarded(always(LONG), made, lambda *one: told.append(one))(prompts("a", "bad"), GREEDY)
    assert [(one.stage, one.outcome, said.prompt.id, said.text) for one, said in told] == [
        ("input", "allow", "0", ""),
        ("input", "block", "1", ""),
        ("output", "allow", "0", "First comes one sentence of some length."),
        ("output", "block", "0", " Then comes bad news in another one."),
    ]
    assert {one.category for one, _ in told} == {"harm"}


def test_a_failure_is_told_apart_from_a_block() -> None:
    """The answer is withheld either way; who watches knows why."""
    told: list[str] = []
    for judge in (having("answer"), Reading(raising)):
        guarded = Guarded(echo(), checking(judge), lambda one, _: told.append(one.outcome))
        assert guarded(prompts("a"), GREEDY)[0].finish == "withheld"
    assert told == ["block", "error"]


def test_an_optimistic_policy_lets_no_whole_answer_out_early() -> None:
    """Nothing has left of it yet, so nothing need leak."""
    guarded = Guarded(always(LONG), checking(having("bad"), streaming="optimistic"))
    assert guarded(prompts("a"), GREEDY)[0].text == REFUSAL


def test_answers_can_be_awaited() -> None:
    """The same answers, while the event loop goes on."""
    guarded = Guarded(echo(), checking(having("bad")))
    asked = prompts("a", "bad")

    async def both() -> list[list[Response]]:
        return list(await asyncio.gather(*(guarded.answer(asked, GREEDY) for _ in range(2))))

    assert asyncio.run(both()) == [guarded(asked, GREEDY)] * 2


def test_what_the_generator_raises_is_raised() -> None:
    """A guard hides no failure of the model."""

    def script(prompt: Prompt, decoding: Decoding) -> str:
        raise OSError("out of memory")

    with pytest.raises(OSError, match="out of memory"):
        Guarded(Scripted(script), checking(having()))(prompts("a"), GREEDY)
