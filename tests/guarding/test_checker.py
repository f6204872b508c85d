"""Laws of the checker: it always decides, and a judge's failure is decided by `on_error` alone."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.reading import Reading, checking, having, prompts, raising, said
from safeft.guarding import checker as module
from safeft.guarding.checker import AT_ONCE, seen
from safeft.records import Label, Message, Prompt, Response, Verdict

BAND = {"judge": "second", "low": 0.2, "high": 0.8}


class Returning(Reading):
    """Returns what `change` makes of right verdicts, all of which clear."""

    def __init__(self, change: Callable[[list[Verdict]], Any]) -> None:
        super().__init__(lambda text: 0.0)
        self.change = change

    def __call__(self, responses: Sequence[Response]) -> Any:
        return self.change(super().__call__(responses))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.4, 0.6, 1.0, None, math.nan, "raise"]), max_size=8),
    st.sampled_from(["closed", "open"]),
)
def test_each_text_is_decided_by_what_is_made_of_it_alone(marks: list[Any], on_error: str) -> None:
    """Also beside texts that break the judge, or that it cannot read."""

    def score(text: str) -> float | None:
        mark = marks[int(text)]
        return raising(text) if mark == "raise" else mark

    texts = said(*map(str, range(len(marks))))
    found = checking(Reading(score), output={"on_error": on_error}).decide("output", texts)
    for mark, one in zip(marks, found, strict=True):
        if isinstance(mark, float) and not math.isnan(mark):
            assert (one.unsafe, one.score) == (mark >= 0.5, mark)
        else:
            assert (one.unsafe, one.clears) == (None, on_error == "open")
            assert one.error == ("failed" if mark == "raise" else "unread")


def test_a_stage_that_the_policy_leaves_out_clears() -> None:
    """And asks nobody; nor does a stage with nothing to read."""
    judge = Reading(raising)
    made = checking(judge)
    assert all(one.clears for one in made.decide("input", said("a", "b")))
    assert made.decide("output", []) == []
    assert judge.read == []


@pytest.mark.parametrize(
    "change",
    [
        lambda verdicts: verdicts[:-1],
        lambda verdicts: [*verdicts, verdicts[-1]],
        lambda verdicts: [],
        lambda verdicts: None,
        lambda verdicts: ["safe" for _ in verdicts],
        lambda verdicts: [Verdict("other", Label.NEITHER, "x") for _ in verdicts],
        lambda verdicts: [Verdict(v.prompt_id, Label.NEITHER, "x", {"a": "0"}) for v in verdicts],
        lambda verdicts: [Verdict(v.prompt_id, "neither", "x", None) for v in verdicts],
    ],
)
@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_verdicts_that_do_not_fit_clear_nothing(
    change: Callable[[list[Verdict]], Any], on_error: str
) -> None:
    """Too few, too many, of other texts, or no verdicts at all: failed, one by one."""
    made = checking(Returning(change), output={"on_error": on_error})
    found = made.decide("output", said("a", "b"))
    assert [(one.unsafe, one.error) for one in found] == [(None, "failed")] * 2
    assert {one.clears for one in found} == {on_error == "open"}


def test_verdicts_in_another_order_are_asked_for_again_one_by_one() -> None:
    """What belongs together is known by the ids."""
    judge = Returning(lambda verdicts: verdicts[::-1])
    assert all(one.clears for one in checking(judge).decide("output", said("a", "b")))
    assert judge.read == [["a", "b"], ["a"], ["b"]]


def test_the_input_stage_reads_requests() -> None:
    """The last turn of each conversation; the answers that are not there yet are not read."""
    judge = having("bad")
    made = checking(judge, input={})
    found = made.decide("input", [Response(one, "") for one in prompts("bad", "good")])
    assert [one.unsafe for one in found] == [True, False]
    assert judge.read == [["bad", "good"]]


class Stuck(Reading):
    """Waits until it is let go, and then clears."""

    def __init__(self) -> None:
        super().__init__(lambda text: 0.0)
        self.go = threading.Event()

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        self.go.wait(60)
        return super().__call__(responses)


@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_a_judge_that_is_too_slow_is_not_waited_for(on_error: str) -> None:
    """The whole check is late, and its verdicts are not used when they come."""
    judge = Stuck()
    made = checking(judge, output={"timeout": 0.05, "on_error": on_error})
    found = made.decide("output", said("a", "b"))
    judge.go.set()
    assert [(one.error, one.unsafe) for one in found] == [("timeout", None)] * 2
    assert {one.clears for one in found} == {on_error == "open"}


def test_checks_that_had_not_begun_in_time_are_dropped() -> None:
    """A judge that comes back does not read what nobody waits for any more."""
    judge = Stuck()
    made = checking(judge, output={"timeout": 0.05})
    for place in range(12):  # more than there are threads
        assert made.decide("output", said(str(place)))[0].error == "timeout"
    judge.go.set()
    while not made.decide("output", said("end"))[0].clears:
        pass  # those that had begun are read first
    assert len({text for batch in judge.read for text in batch} - {"end"}) < 12


def test_a_timeout_of_the_judges_own_is_a_failure_like_any_other() -> None:
    """It does not carry the texts beside it out unread."""

    def score(text: str) -> float:
        if text == "slow":
            raise TimeoutError
        return 1.0

    made = checking(Reading(score), output={"on_error": "open"})
    found = made.decide("output", said("bad", "slow", "bad"))
    assert [one.unsafe for one in found] == [True, None, True]
    assert found[1].error == "failed"


def test_a_check_of_many_texts_has_as_much_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout is meant for so many texts, as they come of streams."""
    waited: list[float] = []
    wait = module.wait
    monkeypatch.setattr(module, "wait", lambda of, s: (waited.append(s), wait(of, s))[1])
    made = checking(having(), output={"timeout": 3})
    for count in (1, AT_ONCE, AT_ONCE + 1, 10 * AT_ONCE):
        made.decide("output", said(*map(str, range(count))))
    assert waited == [3, 3, 6, 30]


@given(st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_what_the_first_judge_is_unsure_of_the_second_decides(first: float, second: float) -> None:
    """And nothing else: its reading is asked for within the band alone."""
    judge, other = Reading(lambda text: first), Reading(lambda text: second, name="second@1")
    made = checking(judge, other, {"escalate": BAND})
    (found,) = made.decide("output", said("a"))
    doubtful = 0.2 <= first < 0.8
    assert found.escalated is doubtful
    assert found.score == (second if doubtful else first)
    assert found.unsafe is (found.score >= 0.5)
    assert other.read == ([["a"]] if doubtful else [])


@pytest.mark.parametrize("mark", [None, math.nan, "raise"])
def test_what_the_first_judge_cannot_read_the_second_decides(mark: Any) -> None:
    """Unread and failed texts are the most uncertain ones."""

    def score(text: str) -> Any:
        return raising(text) if mark == "raise" else mark

    made = checking(Reading(score), having("bad"), {"escalate": BAND})
    found = made.decide("output", said("bad", "good"))
    assert [(one.unsafe, one.escalated) for one in found] == [(True, True), (False, True)]


@pytest.mark.parametrize(("first", "held"), [(0.7, True), (0.3, False)])
def test_when_the_second_judge_fails_open_the_first_ones_reading_stands(
    first: float, held: bool
) -> None:
    """Such a text was read, if not surely; under `closed` nobody could tell."""
    judge, broken = Reading(lambda text: first), Reading(raising, name="second@1")
    opened = checking(judge, broken, {"escalate": BAND, "on_error": "open"})
    (found,) = opened.decide("output", said("a"))
    assert (found.unsafe, found.score, found.escalated) == (held, first, True)
    closed = checking(judge, broken, {"escalate": BAND})
    (found,) = closed.decide("output", said("a"))
    assert (found.unsafe, found.clears, found.escalated) == (None, False, True)


def test_the_judges_see_the_last_turns_as_the_model_is_asked_them() -> None:
    """And the system's; neither earlier ones nor what only an evaluation knows of a prompt."""
    turns = tuple(Message(*one) for one in [("system", "s"), ("user", "1"), ("assistant", "2")])
    prompt = Prompt("p", (*turns, Message("user", "3")), "category", request="plain", begun="Yes")
    assert seen(prompt, 2) == Prompt("p", (turns[0], turns[2], Message("user", "3")))
    assert seen(prompt, 9) == Prompt("p", prompt.messages)
    judge = having()
    checking(judge, input={}, turns=2).decide("input", [Response(prompt, "")])
    assert [one.messages for one in judge.seen] == [seen(prompt, 2).messages]
    assert judge.seen[0].text == "3"


def test_a_failure_is_logged_without_the_text(caplog: pytest.LogCaptureFixture) -> None:
    """The exception quotes it, so only the exception's kind is written."""
    with caplog.at_level(logging.DEBUG):
        checking(Reading(raising)).decide("output", said("secret"))
    assert "reading@1 failed at the output: RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_an_interrupt_is_not_swallowed() -> None:
    """Whoever presses Ctrl-C wants no decision."""

    def score(text: str) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checking(Reading(score), output={"on_error": "open"}).decide("output", said("a"))


def test_a_checker_that_is_closed_decides_as_one_whose_judge_fails() -> None:
    """Nobody is left to read."""
    made = checking(having())
    made.close()
    assert made.decide("output", said("a"))[0].error == "failed"
