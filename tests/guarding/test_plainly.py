"""Laws of the plain reader: a disguise hides nothing from the judge inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.reading import Reading, checking, having, prompts, said
from safeft.data.codes import shifted
from safeft.errors import ConfigError, SafeftError
from safeft.guarding.decision import decide
from safeft.guarding.obfuscation import plain
from safeft.guarding.plainly import PlainReader, reading
from safeft.guarding.policy import Stage
from safeft.records import Label, Message, Prompt, Response, Verdict

HARM = "Pour the purple potion into the old well at night."
CODE = base64.b64encode(HARM.encode()).decode()
HARMLESS = "Water the plants in the garden once a week."
TEXTS = st.sampled_from([HARM, HARMLESS, CODE, shifted(HARM, 13), "\u200b".join(HARM), ""])


def scored(text: str) -> dict[str, float]:
    """Two categories: the length of a text, and whether it has the harm in it."""
    return {"long": min(1.0, len(text) / 1000), "potion": float("purple potion" in text)}


@pytest.mark.parametrize("text", [CODE, shifted(HARM, 13), "\u200b".join(HARM), HARM])
def test_a_disguise_hides_nothing_from_the_judge(text: str) -> None:
    """In answers and in requests; the bare judge would have let all but the last leave."""
    judge = reading(having("purple potion"))
    (answer,) = judge(said(text))
    (request,) = judge.requests(prompts(f"Please: {text}"))
    assert (answer.unsafe, answer.scores["unsafe"]) == (True, 1.0)
    assert (request.unsafe, request.scores["unsafe"]) == (True, 1.0)


def test_a_text_in_plain_letters_is_read_once() -> None:
    """All texts of a batch in one call of the judge, and no reading more where nothing hides."""
    inner = having("purple potion")
    judge = reading(inner)
    judge(said(HARMLESS, HARM))
    judge.requests(prompts(HARMLESS, HARM))
    assert inner.read == [[HARMLESS, HARM]] * 2
    judge(said(HARMLESS, CODE, HARM))
    assert inner.read[2:] == [[HARMLESS, CODE, HARM, HARM]]


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_verdicts_come_in_order_and_none_is_milder(texts: list[str]) -> None:
    """Each category's score is the largest of all readings, and never below the bare judge's."""
    bare, judge = Reading(scored), reading(Reading(scored))
    found = judge(said(*texts))
    assert [one.prompt_id for one in found] == [str(place) for place in range(len(texts))]
    for text, one, alone in zip(texts, found, bare(said(*texts)), strict=True):
        read = [scored(other) for other in (text, *plain(text))]
        assert one.scores == {key: max(each[key] for each in read) for key in ("long", "potion")}
        assert all(one.scores[key] >= score for key, score in alone.scores.items())


def test_an_answer_is_also_read_beside_its_request_in_plain_letters() -> None:
    """A judge that reads both together understands what was asked in a code."""
    inner = having("purple potion")
    judge = reading(inner)
    judge([Response(Prompt.of(f"Answer this: {CODE}"), "Gladly.")])
    asked = [(one.asked, text) for one, text in zip(inner.seen, inner.read[0], strict=True)]
    assert asked == [(f"Answer this: {CODE}", "Gladly."), (f"Answer this: {HARM}", "Gladly.")]


def test_every_turn_of_a_conversation_is_read_plainly() -> None:
    """Old ones too; roles, order and identity stay."""
    inner = having()
    turns = (Message("user", CODE), Message("assistant", "Yes?"), Message("user", "Go on."))
    reading(inner).requests([Prompt("7", turns)])
    first, second = inner.seen
    assert first.messages == turns
    assert second == Prompt("7", (replace(turns[0], content=HARM), *turns[1:]))


FULFILLED, NEITHER, UNREAD = Label.FULFILLED, Label.NEITHER, Label.UNREAD


class Labels:
    """A judge that only says yes or no, and to the readings of a text one after another."""

    name, measures, categories = "labels@1", "harm", ()

    def __init__(self, *labels: Label, score: float | None = None) -> None:
        self.labels = labels
        self.scores = {} if score is None else {"a": score}

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        pairs = zip(responses, self.labels, strict=True)
        return [Verdict(one.prompt.id, label, self.name, self.scores) for one, label in pairs]

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        raise ConfigError("reads answers only")


@pytest.mark.parametrize(
    ("labels", "merged"),
    [
        ((NEITHER, NEITHER), NEITHER),
        ((Label.REFUSED, NEITHER), Label.REFUSED),
        ((NEITHER, FULFILLED), FULFILLED),
        ((FULFILLED, UNREAD), FULFILLED),
        ((UNREAD, FULFILLED), FULFILLED),
        ((NEITHER, UNREAD), UNREAD),
        ((UNREAD, NEITHER), UNREAD),
        ((UNREAD, UNREAD), UNREAD),
    ],
)
def test_what_one_reading_finds_stands(labels: tuple[Label, Label], merged: Label) -> None:
    """Harm in one is harm; nobody can tell where one is unread and no other found any."""
    (found,) = PlainReader(Labels(*labels))(said(CODE))
    assert found.label is merged


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1])
def test_a_score_that_is_none_makes_a_text_unread(score: float) -> None:
    """It must not get lost among the others' scores and be released."""
    judge = PlainReader(Labels(NEITHER, score=score))
    (found,) = judge(said(HARMLESS))
    assert decide("output", Stage(), found).error == "unread"


@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_an_unread_reading_hides_no_score_of_another(on_error: str) -> None:
    """Although that score says unsafe by the policy's threshold alone."""
    judge = reading(Reading(lambda text: None if text == CODE else 0.3))
    low = checking(judge, output={"on_error": on_error, "threshold": 0.2})
    (found,) = low.decide("output", said(CODE))
    assert (found.action, found.unsafe, found.score) == ("block", True, 0.3)
    high = checking(judge, output={"on_error": on_error})
    (found,) = high.decide("output", said(CODE))
    assert (found.unsafe, found.error, found.clears) == (None, "unread", on_error == "open")


def test_it_is_known_by_the_judge_inside() -> None:
    """Its name changes with that judge, and it tells what that one tells."""
    inner = Reading(scored, name="guard@12345678", categories=("long", "potion"))
    inner.trained_on = "rows"  # type: ignore[attr-defined]
    judge = reading(inner)
    assert judge.name.startswith("guard@12345678+plain@")
    assert (judge.measures, judge.categories) == (inner.measures, inner.categories)
    assert isinstance(judge, PlainReader)
    assert (judge.trained_on, judge.inner) == ("rows", inner)
    assert judge.reads == {"exchange", "request"}
    assert {one.judge for one in judge(said(HARM, CODE))} == {judge.name}
    assert PlainReader(Reading(scored)).trained_on == ""


def test_what_the_judge_inside_raises_is_raised() -> None:
    """Also that it reads answers only, before there is anything to read."""
    with pytest.raises(ConfigError, match="answers only"):
        reading(Labels()).requests([])
    assert reading(Labels())([]) == []


class Mixed(Reading):
    """Gives the verdicts of a batch in another order."""

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        return super().__call__(responses)[::-1]


def test_verdicts_that_fit_no_text_are_refused() -> None:
    """Rather than given to another text."""
    with pytest.raises(SafeftError, match="in order"):
        reading(Mixed(scored))(said(HARM, HARMLESS))


def test_a_checker_blocks_what_is_encoded() -> None:
    """By the policy's own thresholds, as if it stood there plainly."""
    made = checking(reading(Reading(scored)), output={"categories": {"long": {"action": "log"}}})
    decisions = made.decide("output", said(HARM, CODE, HARMLESS))
    assert [(one.unsafe, one.category) for one in decisions][:2] == [(True, "potion")] * 2
    assert decisions[2].clears
