"""Readings: the numbers by which a policy would decide, in the windows in which it would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from safeft.errors import ConfigError, SafeftError
from safeft.guarding.checker import Checker
from safeft.guarding.policy import Policy
from safeft.guarding.readings import DOWN, Reading, read, withheld
from safeft.guarding.releasing import released, requested
from safeft.records import Label, Message, Prompt, Response, Verdict

WORDS = ("ok", "bad3", "bad7", "mean5", "mean9", "unread", "part", "crash", "nonsense", "yes")


class Wordy:
    """Scores a text by its words: `bad7` is 0.7 of `bad`; some words cannot be read.

    With `part` the rest is read, as by a judge that reads a text in several ways. `fails` are words
    that it cannot read in any way.
    """

    measures = "harmful content"
    categories = ("bad", "mean")

    def __init__(
        self, name: str = "wordy", factor: float = 1.0, fails: Sequence[str] = ("unread",)
    ) -> None:
        self.name = name
        self.factor = factor
        self.fails = fails
        self.seen: list[str] = []

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        return [self._verdict(one.prompt, one.text) for one in responses]

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        return [self._verdict(one, " ".join(m.content for m in one.messages)) for one in prompts]

    def _verdict(self, prompt: Prompt, text: str) -> Verdict:
        self.seen.append(text)
        if "crash" in text:
            raise RuntimeError(text)
        if any(one in text for one in self.fails):
            return Verdict(prompt.id, Label.UNREAD, self.name)
        if "nonsense" in text:
            return Verdict(prompt.id, Label.NEITHER, self.name, {"bad": 7.0})
        if "yes" in text:  # a label alone
            return Verdict(prompt.id, Label.FULFILLED, self.name)
        label = Label.UNREAD if "part" in text else Label.NEITHER
        return Verdict(prompt.id, label, self.name, self._scores(text))

    def _scores(self, text: str) -> dict[str, float]:
        found = dict.fromkeys(self.categories, 0.0)
        for word in text.replace(".", " ").split():
            for name in self.categories:
                if word.startswith(name):
                    found[name] = max(found[name], self.factor * int(word[-1]) / 10)
        return found


def policy(**stages: Any) -> Policy:
    """A policy of these stages."""
    return Policy.model_validate({"name": "p", "refusal": "No.", **stages})


def checked(chosen: Policy, judge: Wordy | None = None, second: Wordy | None = None) -> Checker:
    """Its checker, with one judge for every stage."""
    judges = {name: judge or Wordy() for name in chosen.stages}
    seconds = {name: second or Wordy("second", 0.5) for name in chosen.stages}
    return Checker(chosen, judges, seconds)


def answer(text: str, asked: str = "ok", id: str = "1") -> Response:
    """An answer to a prompt."""
    return Response(Prompt.of(asked, id), text)


texts = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)
rules = st.fixed_dictionaries(
    {"threshold": st.none() | st.sampled_from([0.0, 0.3, 0.65, 1.0])},
    optional={"action": st.sampled_from(["allow", "log", "block"])},
)
shared = {
    "threshold": st.sampled_from([0.2, 0.5, 0.7, 0.9]),
    "action": st.sampled_from(["log", "block"]),
    "categories": st.dictionaries(st.sampled_from(["bad", "mean"]), rules),
    "on_error": st.sampled_from(["closed", "open"]),
    "escalate": st.none() | st.just({"judge": "second", "low": 0.35, "high": 0.75}),
}
sizes = {
    "window": st.integers(4, 12),
    "first_window": st.integers(4, 8),
    "overlap": st.integers(0, 6),
}
inputs, outputs = st.fixed_dictionaries(shared), st.fixed_dictionaries(shared | sizes)


@settings(deadline=None, max_examples=300)
@given(
    inputs,
    outputs,
    st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
    st.lists(st.sampled_from(["unread", "bad", "mean", "part"])),
)
def test_a_reading_says_what_the_policy_would_withhold(
    first: dict[str, Any], last: dict[str, Any], said: list[tuple[str, str]], fails: list[str]
) -> None:
    """The law of calibration: the same judges, windows, second judges and failures as in service.

    An exchange counts as withheld just when the policy blocks its prompt or changes its answer.
    """
    chosen = policy(input=first, output=last)
    responses = [answer(text, asked, str(number)) for number, (asked, text) in enumerate(said)]
    checker = checked(chosen, second=Wordy("second", 0.5, fails))
    prompts = [one.prompt for one in responses]
    try:
        readings = read(checker, responses)
    except SafeftError:  # every text breaks the judge, and so it seems to be down
        reject()
    blocked = [not one.clears for one in requested(checker, prompts, None)]
    left = released(checker, prompts, [one.text for one in responses])
    changed = [one.kind != "whole" for one in left]
    checker.close()
    assert [withheld(chosen, one) for one in readings] == [
        pair[0] or pair[1] for pair in zip(blocked, changed, strict=True)
    ]


@pytest.mark.parametrize(
    ("said", "fails", "scores", "unread"),
    [
        ("bad7", ["bad"], 0.7, ()),
        ("bad7 part", ["bad"], 0.7, ("output",)),
        ("bad7", [], 0.35, ()),
        ("bad7 part", [], 0.7, ("output",)),
        ("bad3 unread", [], 0.15, ()),
    ],
)
def test_when_the_second_judge_fails_open_the_first_ones_reading_counts(
    said: str, fails: list[str], scores: float, unread: tuple[str, ...]
) -> None:
    """As the checker decides; under `closed` nobody could tell, and the second one's counts."""
    band = {"judge": "second", "low": 0.35, "high": 0.75}
    second = Wordy("second", 0.5, fails)
    opened = policy(output={"on_error": "open", "escalate": band})
    (found,) = read(checked(opened, second=second), [answer(said)])
    assert found == Reading("1", {"output": {"bad": scores, "mean": 0.0}}, unread)
    closed = policy(output={"escalate": band})
    (found,) = read(checked(closed, second=second), [answer(said)])
    assert found.unread == (("output",) if fails or "part" in said else ())
    assert found.scores["output"].get("bad", 0.0) <= 0.35


def test_the_worst_window_decides_and_each_category_by_itself() -> None:
    """The largest score of a category anywhere in the answer; the prompt is read at the input."""
    chosen = policy(input={}, output={"window": 4, "first_window": 4, "overlap": 0})
    text = "ok ok bad3 ok. ok mean9 ok ok. ok bad7 ok ok. ok ok ok ok."
    judge = Wordy()
    (found,) = read(checked(chosen, judge), [answer(text, "mean5")])
    assert found == Reading(
        "1", {"input": {"bad": 0.0, "mean": 0.5}, "output": {"bad": 0.7, "mean": 0.9}}
    )
    assert len(judge.seen) > 4  # the whole answer was never read at once
    assert max(map(len, judge.seen)) < len(text) / 2


def test_windows_are_read_with_what_precedes_them() -> None:
    """The overlap is read, as it is in service."""
    chosen = policy(output={"window": 4, "first_window": 4, "overlap": 4})
    judge = Wordy()
    read(checked(chosen, judge), [answer("one two three four five six seven eight")])
    assert judge.seen[0] == "one two three four"
    assert judge.seen[1] == "one two three four five six seven eight"


def test_an_empty_answer_has_no_window() -> None:
    """Nothing is read, and so nothing is withheld."""
    (found,) = read(checked(policy(output={"threshold": 0.0})), [answer("")])
    assert found == Reading("1", {"output": {}})
    assert not withheld(policy(output={"threshold": 0.0}), found)


def test_judges_see_the_last_turns_alone() -> None:
    """What a policy's `turns` hides in service is hidden here."""
    turns = tuple(Message(("user", "assistant")[n % 2], f"turn{n}") for n in range(5))
    judge = Wordy()
    chosen = policy(input={}, turns=2)
    read(checked(chosen, judge), [Response(Prompt("1", turns, request="hidden"), "")])
    assert judge.seen == ["turn3 turn4"]


def test_a_text_that_breaks_the_judge_is_unread_alone() -> None:
    """The others are read; a judge that reads none of many texts is down, and that is told."""
    checker = checked(policy(output={}))
    some = read(checker, [answer("ok"), answer("crash"), answer("bad7")])
    assert [one.unread for one in some] == [(), ("output",), ()]
    assert some[2].scores == {"output": {"bad": 0.7, "mean": 0.0}}
    assert read(checker, [answer("crash")] * (DOWN - 1))[0].unread == ("output",)
    with pytest.raises(SafeftError, match=r"wordy read none of 8 texts .* \(RuntimeError\)"):
        read(checker, [answer("crash")] * DOWN)


def test_no_message_quotes_a_text(caplog: pytest.LogCaptureFixture) -> None:
    """A judge's exception may hold what it was given."""
    read(checked(policy(output={})), [answer("ok"), answer("crash secret")])
    assert "failed on a text" in caplog.text
    assert "secret" not in caplog.text


def test_a_judge_that_cannot_serve_is_a_mistake_of_the_policy() -> None:
    """It is told, and not counted as so many unread answers."""

    class Deaf(Wordy):
        def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
            raise ConfigError("wordy reads answers only")

    with pytest.raises(ConfigError, match="answers only"):
        read(checked(policy(input={}), Deaf()), [answer("ok")])


def test_a_judge_that_mixes_up_its_verdicts_is_not_believed() -> None:
    """One verdict per text, in order: else each is asked for alone, and then unread."""

    class Mixed(Wordy):
        def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
            return super().__call__(responses)[::-1]

    checker = checked(policy(output={}), Mixed())
    found = read(checker, [answer("bad7", id="1"), answer("ok", id="2")])
    assert [one.scores["output"]["bad"] for one in found] == [0.7, 0.0]


def test_readings_hold_no_text() -> None:
    """They may be kept where answers may not."""
    (found,) = read(checked(policy(input={}, output={})), [answer("secret bad7", "hush")])
    assert "secret" not in repr(asdict(found))
    assert "hush" not in repr(asdict(found))
