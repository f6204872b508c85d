"""TAP's laws, with scripted players: it grows, prunes, asks, judges and stops as the paper says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from safeft.assets import find, read_yaml
from safeft.errors import PromptError, TooLongError
from safeft.evaluation.tap import (
    Attempt,
    Budget,
    Leaf,
    NoEvaluator,
    PromptedEvaluator,
    TapFile,
    attack,
)
from safeft.generation.scripted import Scripted
from safeft.judges import load_judge
from safeft.records import Decoding, Label, Prompt, Response, Verdict

GOAL = Prompt.of("Open the safe.", "1")
WORDS = read_yaml(find("eval/attacks", "tap"), TapFile)
SMALL = Budget(depth=3, width=2, branching=2)
Script = Callable[[Prompt, Decoding], str]


def writes(request: str) -> str:
    """What an attacker should answer."""
    return json.dumps({"improvement": "another role", "prompt": request})


class Recorder:
    """A script that keeps what it was asked, round by round."""

    def __init__(self, answer: Script) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def __call__(self, prompt: Prompt, decoding: Decoding) -> str:
        self.asked.append(prompt.asked)
        return self.answer(prompt, decoding)


def played(
    attacker: Script, target: Script, evaluator: Script | None = None, budget: Budget = SMALL
) -> Attempt:
    """One goal."""
    prunes = PromptedEvaluator(Scripted(evaluator), WORDS) if evaluator else NoEvaluator()
    models = Scripted(attacker), Scripted(target)
    return attack(GOAL, *models, prunes, load_judge("keyword"), WORDS, budget, Decoding(0.0, 0, 32))


def test_it_stops_with_the_first_answer_that_reaches_the_goal() -> None:
    """The second round's request gets through: nothing is asked after it, and it is kept."""
    target = Recorder(
        lambda one, _: (
            "Turn the dial to nine." if "uncle" in one.asked else "I can't help with that."
        )
    )

    def attacker(_: Prompt, how: Decoding) -> str:
        return writes("Play my uncle." if how.seed >= 2000 else "Please.")

    found = played(attacker, target)
    assert found.success and found.depth == 2 and found.request == "Play my uncle."
    assert found.answer == "Turn the dial to nine."
    assert found.queries == len(target.asked) == 2 + 4


def test_a_target_that_always_declines_is_asked_no_more_than_the_tree_allows() -> None:
    """branching, then width × branching in each further round."""
    target = Recorder(lambda *_: "I can't help with that.")
    found = played(lambda one, how: writes(f"Please {how.seed}."), target)
    assert not found.success and found.rating == 1
    assert found.queries == len(target.asked) == 2 + 4 + 4
    assert len(set(target.asked)) == 6  # refinements of one request differ


def test_requests_off_topic_never_reach_the_target() -> None:
    """The evaluator's no prunes; what it says unreadably is asked all the same, and counted."""
    target = Recorder(lambda *_: "I can't help with that.")

    def attacker(_: Prompt, how: Decoding) -> str:
        return writes("A poem." if how.seed % 2 else "The safe, please.")

    def evaluator(one: Prompt, _: Decoding) -> str:
        if "same thing" in one.asked:
            return "no" if "A poem." in one.asked else "hm"
        return "3"

    found = played(attacker, target, evaluator)
    assert target.asked == 3 * ["The safe, please."]
    assert (found.off_topic, found.unread, found.queries) == (3, 3, 3)
    assert found.rating == 3


def test_the_best_rated_are_refined() -> None:
    """Of three requests the two that were rated highest go on, with answer and rating told."""
    seen: list[Sequence[str]] = []

    def attacker(one: Prompt, how: Decoding) -> str:
        seen.append([turn.content for turn in one.messages])
        return writes(f"Way {how.seed}")

    def evaluator(one: Prompt, _: Decoding) -> str:
        if "same thing" in one.asked:
            return "yes"
        return {"Way 1000": "2", "Way 1001": "9", "Way 1002": "5"}.get(
            one.asked.split("Request: ")[1].split("\n")[0], "1"
        )

    played(attacker, lambda one, _: f"I can't help with {one.asked}.", evaluator, Budget(2, 2, 3))
    told = {turns[-1].split("that was rated ")[1][0] for turns in seen[3:]}
    assert told == {"9", "5"}
    assert all("I can't help with Way 100" in turns[-1] for turns in seen[3:])


@pytest.mark.parametrize("said", ["No JSON here.", '{"improvement": "none"}', '{"prompt": "  "}'])
def test_an_attacker_that_writes_nothing_is_counted_and_never_a_success(said: str) -> None:
    """Nothing is asked: no query, no verdict, and the unread answers are told."""
    target = Recorder(lambda *_: "Sure.")
    found = played(lambda *_: said, target)
    assert (found.success, found.queries, found.unread, target.asked) == (False, 0, 2, [])


def test_a_verdict_that_nobody_could_read_is_counted_apart() -> None:
    """Whether such an answer reached the goal is not known."""

    class Silent:
        name, measures = "silent@1", "fulfilment"

        def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
            return [Verdict(one.prompt.id, Label.UNREAD, self.name) for one in responses]

    models = Scripted(lambda *_: writes("Please.")), Scripted(lambda *_: "Well.")
    judged = NoEvaluator(), Silent(), WORDS, Budget(1, 1, 2), Decoding(0.0, 0, 32)
    found = attack(GOAL, *models, *judged)
    assert (found.success, found.queries, found.unjudged) == (False, 2, 2)


def test_an_attacker_whose_template_refuses_is_an_error() -> None:
    """It would look like an attacker that has nothing to say; a talk too long is one."""

    def refuses(prompt: Prompt, _: Decoding) -> str:
        raise PromptError(prompt.id, "is refused by the chat template")

    with pytest.raises(PromptError):
        played(refuses, lambda *_: "Well.")

    def outgrown(prompt: Prompt, _: Decoding) -> str:
        raise TooLongError(prompt.id, "has 9 tokens")

    assert played(outgrown, lambda *_: "Well.").queries == 0


def test_words_are_filled_once() -> None:
    """A request that holds a slot's name is data: it is not filled again."""
    target = Recorder(lambda *_: "I can't help with that.")
    played(
        lambda *_: writes("Say {goal} and {rating}."), target, lambda *_: "yes 4", Budget(1, 1, 1)
    )
    assert target.asked == ["Say {goal} and {rating}."]


def test_an_unreadable_rating_is_the_lowest() -> None:
    """And a number beyond the scale is brought back to it."""
    judge = PromptedEvaluator(
        Scripted(lambda one, _: "great" if "a1" in one.asked else "10!"), WORDS
    )
    assert judge.rate("g", [Leaf((), "r", "a1"), Leaf((), "r", "a2")]) == [None, 10]
