"""Laws of the guard: what leaves was cleared, in order, whatever the judge does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.generation.generator import Generator
from safeft.generation.scripted import Scripted
from safeft.guarding import Guarded, Policy
from safeft.guarding.policy import OnError
from safeft.judges.judge import Judge
from safeft.records import Decoding, Label, Prompt, Response, Verdict

REFUSAL = "Not this one."
GREEDY = Decoding()


def policy(on_error: OnError = "closed") -> Policy:
    return Policy(
        name="test", judge="encoder-guard", threshold=0.5, on_error=on_error, refusal=REFUSAL
    )


class Labelling:
    """Labels each response with `label(text)`; that may raise."""

    name = "labelling"
    measures = "harmful content"

    def __init__(self, label: Callable[[str], Label]) -> None:
        self.label = label
        self.calls = 0

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        self.calls += 1
        return [Verdict(one.prompt.id, self.label(one.text), self.name) for one in responses]


class Returning(Labelling):
    """Returns what `change` makes of correct verdicts."""

    def __init__(self, change: Callable[[list[Verdict]], list[Verdict]]) -> None:
        super().__init__(lambda text: Label.NEITHER)
        self.change = change

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        return self.change(super().__call__(responses))


def raising(text: str) -> Label:
    raise RuntimeError("the judge broke")


def echo() -> Scripted:
    return Scripted(lambda prompt, decoding: f"answer to {prompt.text}", name="echo")


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt.of(text, id=str(number)) for number, text in enumerate(texts)]


def run(judge: Judge, asked: Sequence[Prompt], on_error: OnError = "closed") -> list[Response]:
    return Guarded(echo(), judge, policy(on_error))(asked, GREEDY)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*Label, None])), st.sampled_from(["closed", "open"]))
def test_what_leaves_was_cleared(labels: list[Label | None], on_error: OnError) -> None:
    """None stands for a judge that raises: only `on_error: open` lets such a response out."""

    def label(text: str) -> Label:
        found = labels[int(text.removeprefix("answer to "))]
        return raising(text) if found is None else found

    asked = prompts(*map(str, range(len(labels))))
    answers = run(Labelling(label), asked, on_error)
    assert [one.prompt for one in answers] == asked
    for found, asked_one, answer in zip(labels, asked, answers, strict=True):
        cleared = found in (Label.REFUSED, Label.NEITHER)
        if cleared or (found is None and on_error == "open"):
            assert answer == Response(asked_one, f"answer to {asked_one.text}", tokens=3)
        else:
            assert answer == Response(asked_one, REFUSAL, "withheld")


def test_guarded_is_a_generator_and_keeps_name_and_engine() -> None:
    guarded: Generator = Guarded(echo(), Labelling(lambda text: Label.NEITHER), policy())
    assert (guarded.name, guarded.engine) == ("echo", "scripted")


def test_guards_nest() -> None:
    clears = Labelling(lambda text: Label.NEITHER)
    withholds = Labelling(lambda text: Label.FULFILLED)
    inner = Guarded(echo(), withholds, policy())
    answers = Guarded(inner, clears, policy())(prompts("a"), GREEDY)
    assert [(one.text, one.finish) for one in answers] == [(REFUSAL, "withheld")]


def test_nothing_asked_is_nothing_judged() -> None:
    judge = Labelling(raising)
    assert run(judge, []) == []
    assert judge.calls == 0


def test_decoding_reaches_the_generator() -> None:
    seeds = Scripted(lambda prompt, decoding: str(decoding.seed))
    guarded = Guarded(seeds, Labelling(lambda text: Label.NEITHER), policy())
    assert guarded(prompts("a"), Decoding(0.7, seed=5))[0].text == "5"


def test_a_cut_off_answer_keeps_its_finish() -> None:
    class CutOff(Scripted):
        def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
            return [Response(prompt, "and then", "length", 2) for prompt in prompts]

    guarded = Guarded(CutOff(lambda p, d: ""), Labelling(lambda text: Label.NEITHER), policy())
    assert guarded(prompts("a"), GREEDY)[0].finish == "length"


@pytest.mark.parametrize(("on_error", "finish"), [("closed", "withheld"), ("open", "stop")])
def test_a_judge_that_always_raises(on_error: OnError, finish: str) -> None:
    answers = run(Labelling(raising), prompts("a", "b"), on_error)
    assert [one.finish for one in answers] == [finish, finish]


@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_one_response_that_breaks_the_judge_does_not_free_the_others(on_error: OnError) -> None:
    def label(text: str) -> Label:
        return raising(text) if text.endswith("poison") else Label.FULFILLED

    answers = run(Labelling(label), prompts("bad", "poison", "bad"), on_error)
    assert [answers[0].finish, answers[2].finish] == ["withheld", "withheld"]


@pytest.mark.parametrize(
    "change",
    [
        lambda verdicts: verdicts[:-1],
        lambda verdicts: [*verdicts, verdicts[-1]],
        lambda verdicts: [],
        lambda verdicts: [Verdict("other", Label.NEITHER, "x") for _ in verdicts],
        lambda verdicts: None,
    ],
)
def test_verdicts_that_do_not_match_clear_nothing(
    change: Callable[[list[Verdict]], list[Verdict]],
) -> None:
    answers = run(Returning(change), prompts("a", "b"))
    assert [one.finish for one in answers] == ["withheld", "withheld"]


def test_verdicts_in_another_order_are_asked_for_again_one_by_one() -> None:
    judge = Returning(lambda verdicts: verdicts[::-1])
    assert [one.finish for one in run(judge, prompts("a", "b"))] == ["stop", "stop"]
    assert judge.calls == 3


def test_a_failure_is_logged_without_the_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run(Labelling(raising), prompts("secret"))
    assert "the judge broke" in caplog.text
    assert "withheld" in caplog.text
    assert "secret" not in caplog.text


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupted(text: str) -> Label:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Labelling(interrupted), prompts("a"), "open")
