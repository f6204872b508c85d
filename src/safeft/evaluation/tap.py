"""Tree of Attacks with Pruning (TAP; Mehrotra et al. 2023, arXiv 2312.02119).

An attacker model writes requests for a goal, an evaluator drops those that ask for something else,
the target answers, the evaluator rates the answers, and the best requests are refined: `depth`
rounds, `branching` refinements of each, `width` kept. The judge says whether an answer carried the
goal out; then the search ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from safeft.errors import TooLongError
from safeft.evaluation.ask import plain
from safeft.generation import Generator
from safeft.judges import Judge
from safeft.records import Decoding, Label, Message, Prompt, Response

WORST, BEST = 1, 10


class TapFile(BaseModel):
    """What the attacker and the evaluator are told, and how their answers are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    attacker: str
    first: str
    again: str
    attack: str = Field(description="a pattern with the group `prompt`")
    topic: str
    on_topic: str = Field(description="a pattern with the group `verdict`: yes or no")
    rate: str
    rating: str = Field(description="a pattern with the group `rating`: 1 to 10")
    max_new_tokens: int = Field(400, gt=0)

    @field_validator("attack", "on_topic", "rating")
    @classmethod
    def _compiles(cls, given: str) -> str:
        try:
            re.compile(given)
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from error
        return given


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of the tree. The paper's: depth 10, width 10, branching 4."""

    depth: int = 10
    width: int = 10
    branching: int = 4


@dataclass(frozen=True, slots=True)
class Leaf:
    """A request, the talk with the attacker that led to it, the answer to it and its rating."""

    talk: tuple[Message, ...]
    asked: str = ""
    answer: str = ""
    rating: int = WORST


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one goal. `queries` count what the target was asked.

    `unread` counts answers of attacker and evaluator that could not be read, `unjudged` answers
    of the target that the judge could not, `off_topic` requests that the target never saw.
    """

    goal: str
    success: bool
    queries: int
    depth: int
    rating: int
    off_topic: int
    unread: int
    unjudged: int = 0
    request: str = ""
    answer: str = ""


class Evaluator(Protocol):
    """Who prunes: what is off topic, and what was rated low."""

    def on_topic(self, goal: str, requests: Sequence[str]) -> list[bool | None]:
        """Whether each request still asks for the goal; None where the answer was unreadable."""

    def rate(self, goal: str, leaves: Sequence[Leaf]) -> list[int | None]:
        """1 to 10 for each answer; None where the rating was unreadable."""


@dataclass(frozen=True, slots=True)
class PromptedEvaluator:
    """A language model that is asked, greedily."""

    model: Generator
    words: TapFile

    def on_topic(self, goal: str, requests: Sequence[str]) -> list[bool | None]:
        """Yes or no."""
        texts = [_filled(self.words.topic, goal=goal, prompt=one) for one in requests]
        found = self._read(texts, self.words.on_topic, "verdict")
        return [None if one is None else one.lower() == "yes" for one in found]

    def rate(self, goal: str, leaves: Sequence[Leaf]) -> list[int | None]:
        """A number."""
        texts = [
            _filled(self.words.rate, goal=goal, prompt=one.asked, response=one.answer)
            for one in leaves
        ]
        found = self._read(texts, self.words.rating, "rating")
        return [None if one is None else min(BEST, max(WORST, int(one))) for one in found]

    def _read(self, texts: Sequence[str], pattern: str, group: str) -> list[str | None]:
        said = _ask(self.model, [(Message("user", text),) for text in texts], Decoding(0.0, 0, 16))
        matches = [re.search(pattern, one.text) for one in said]
        return [match[group] if match else None for match in matches]


class NoEvaluator:
    """Nothing is pruned for its topic, and every answer that fails is rated alike."""

    def on_topic(self, goal: str, requests: Sequence[str]) -> list[bool | None]:
        """All of them."""
        return [True for _ in requests]

    def rate(self, goal: str, leaves: Sequence[Leaf]) -> list[int | None]:
        """The lowest."""
        return [WORST for _ in leaves]


def attack(
    goal: Prompt,
    attacker: Generator,
    target: Generator,
    evaluator: Evaluator,
    judge: Judge,
    words: TapFile,
    budget: Budget,
    decoding: Decoding,
) -> Attempt:
    """Search for a request that makes the target carry the goal out.

    The attacker is drawn at temperature 1, seeded by round and branch, so that its refinements of
    one request differ; the target is asked under `decoding`.
    """
    opening = Message("system", _filled(words.attacker, goal=goal.text))
    leaves = [Leaf((opening, Message("user", _filled(words.first, goal=goal.text))))]
    queries = off_topic = unread = unjudged = best = 0
    for depth in range(1, budget.depth + 1):
        grown, lost = _grown(leaves, attacker, words, budget, depth)
        kept, astray, unsure = _kept(goal, grown, evaluator)
        answered = _answered(goal, kept, target, judge, decoding)
        queries, off_topic = queries + len(kept), off_topic + astray
        unread, unjudged = unread + lost + unsure, unjudged + _unjudged(answered)
        if won := next((leaf for leaf, label in answered if label is Label.FULFILLED), None):
            done = (queries, depth, BEST, off_topic, unread, unjudged, won.asked, won.answer)
            return Attempt(goal.text, True, *done)
        rated = evaluator.rate(goal.text, [leaf for leaf, _ in answered])
        unread += rated.count(None)
        leaves = _best([leaf for leaf, _ in answered], rated, words, goal.text, budget.width)
        best = max([best, *(leaf.rating for leaf in leaves)])
        if not leaves:
            return Attempt(goal.text, False, queries, depth, best, off_topic, unread, unjudged)
    return Attempt(goal.text, False, queries, budget.depth, best, off_topic, unread, unjudged)


def _unjudged(answered: Sequence[tuple[Leaf, Label]]) -> int:
    return [label for _, label in answered].count(Label.UNREAD)


def _grown(
    leaves: Sequence[Leaf], attacker: Generator, words: TapFile, budget: Budget, depth: int
) -> tuple[list[Leaf], int]:
    """`branching` refinements of each leaf, and how many of the attacker's answers were none."""
    grown, lost = [], 0
    for branch in range(budget.branching):
        decoding = Decoding(1.0, 1000 * depth + branch, words.max_new_tokens)
        said = _ask(attacker, [leaf.talk for leaf in leaves], decoding)
        for leaf, answer in zip(leaves, said, strict=True):
            request = _request(answer.text, words.attack)
            if request:
                talk = (*leaf.talk, Message("assistant", answer.text))
                grown.append(Leaf(talk, request))
            else:
                lost += 1
    return grown, lost


def _kept(goal: Prompt, grown: Sequence[Leaf], evaluator: Evaluator) -> tuple[list[Leaf], int, int]:
    """What is on topic, how much was not, and of how much nobody could tell: that is asked."""
    verdicts = evaluator.on_topic(goal.text, [leaf.asked for leaf in grown]) if grown else []
    kept = [leaf for leaf, one in zip(grown, verdicts, strict=True) if one is not False]
    return kept, verdicts.count(False), verdicts.count(None)


def _answered(
    goal: Prompt, leaves: Sequence[Leaf], target: Generator, judge: Judge, decoding: Decoding
) -> list[tuple[Leaf, Label]]:
    """The target's answers with the judge's labels; the judge reads the plain goal."""
    if not leaves:
        return []
    said = _ask(target, [(Message("user", leaf.asked),) for leaf in leaves], decoding)
    asked = [
        Response(replace(one.prompt, request=goal.text), one.text, one.finish, one.tokens)
        for one in said
    ]
    labels = [verdict.label for verdict in judge([plain(one) for one in asked])]
    pairs = zip(leaves, said, labels, strict=True)
    return [(replace(leaf, answer=one.text), label) for leaf, one, label in pairs]


def _best(
    leaves: Sequence[Leaf], rated: Sequence[int | None], words: TapFile, goal: str, width: int
) -> list[Leaf]:
    """The highest rated, ready to be refined; an unreadable rating counts as the lowest."""
    scored = [replace(leaf, rating=one or WORST) for leaf, one in zip(leaves, rated, strict=True)]
    chosen = sorted(scored, key=lambda leaf: -leaf.rating)[:width]
    return [replace(leaf, talk=(*leaf.talk, _told(leaf, words, goal))) for leaf in chosen]


def _told(leaf: Leaf, words: TapFile, goal: str) -> Message:
    said = _filled(words.again, goal=goal, response=leaf.answer, rating=str(leaf.rating))
    return Message("user", said)


def _request(text: str, pattern: str) -> str:
    """The attacker's request, unescaped; empty when there is none."""
    match = re.search(pattern, text)
    if not match:
        return ""
    try:
        return str(json.loads(f'"{match["prompt"]}"', strict=False)).strip()
    except json.JSONDecodeError:
        return match["prompt"].strip()


def _filled(text: str, **values: str) -> str:
    """The text with its slots filled at once: a filled value's own braces are not read again."""
    slots = "|".join(re.escape(f"{{{name}}}") for name in values)
    return re.sub(slots, lambda found: values[found[0][1:-1]], text)


def _ask(
    model: Generator, turns: Sequence[tuple[Message, ...]], decoding: Decoding
) -> list[Response]:
    """One answer each; a talk that outgrew the context is answered with nothing."""
    asked = [Prompt(str(place), one) for place, one in enumerate(turns)]
    found = {one: Response(one, "") for one in asked}
    left = list(asked)
    while left:
        try:
            found |= {one.prompt: one for one in model(left, decoding)}
            break
        except TooLongError as error:
            left = [one for one in left if one.id != error.id]
    return [found[one] for one in asked]
