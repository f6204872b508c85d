"""A judge of the tests' own, and policies and checkers for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from safeft.guarding.checker import Checker
from safeft.guarding.policy import Policy, Stage
from safeft.guarding.windows import Window, Windows
from safeft.records import Label, Prompt, Response, Verdict

REFUSAL = "Not this one."
Score = Callable[[str], float | Mapping[str, float] | None]


class Reading:
    """Scores each text with `score(text)`, which may raise; None is unread.

    Requests are read by their last turn, or not at all. `read` keeps every batch of texts.
    """

    name = "reading@1"
    measures = "harmful content"

    def __init__(self, score: Score, *, name: str = name, categories: Sequence[str] = ()) -> None:
        self.score = score
        self.name = name
        self.categories = tuple(categories)
        self.read: list[list[str]] = []
        self.seen: list[Prompt] = []

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        return self._verdicts([one.prompt for one in responses], [one.text for one in responses])

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        return self._verdicts(prompts, [one.asked for one in prompts])

    def _verdicts(self, prompts: Sequence[Prompt], texts: list[str]) -> list[Verdict]:
        self.read.append(texts)
        self.seen += prompts
        return [self._verdict(*pair) for pair in zip(prompts, texts, strict=True)]

    def _verdict(self, prompt: Prompt, text: str) -> Verdict:
        found = self.score(text)
        if found is None:
            return Verdict(prompt.id, Label.UNREAD, self.name)
        scores = dict(found) if isinstance(found, Mapping) else {"unsafe": float(found)}
        label = Label.FULFILLED if max(scores.values()) >= 0.5 else Label.NEITHER
        return Verdict(prompt.id, label, self.name, scores)


def having(*words: str) -> Reading:
    """Finds unsafe whatever has one of the words in it."""
    return Reading(lambda text: float(any(one in text for one in words)))


def raising(text: str) -> float:
    """A judge that is broken."""
    raise RuntimeError(f"no idea what to make of {text!r}")


def policy(**changes: Any) -> Policy:
    """A policy that reads answers; `output` and others are given as a YAML would."""
    values = {"name": "test", "refusal": REFUSAL, "output": {}, "decode": False} | changes
    return Policy.model_validate({key: one for key, one in values.items() if one is not None})


def checking(
    judge: Any, second: Any = None, output: Mapping[str, Any] | None = {}, **changes: Any
) -> Checker:
    """A checker whose every stage is read by the judge; `output` are keys of that stage."""
    chosen = policy(output=output, **changes)
    stages = chosen.stages
    seconds = {name: second for name, stage in stages.items() if stage.escalate}
    return Checker(chosen, dict.fromkeys(stages, judge), seconds)


def stage(**keys: Any) -> Stage:
    """A stage as a YAML would give it."""
    return Stage.model_validate(keys)


def prompts(*texts: str) -> list[Prompt]:
    """One prompt for each text, with ids of their own."""
    return [Prompt.of(text, id=str(place)) for place, text in enumerate(texts)]


def said(*texts: str) -> list[Response]:
    """Answers to as many prompts."""
    asked = prompts(*("?" for _ in texts))
    return [Response(*pair) for pair in zip(asked, texts, strict=True)]


def windows(text: str, size: int = 32, first: int = 16, overlap: int = 32) -> list[Window]:
    """The windows of a whole text."""
    made = Windows(size, first, overlap)
    return [*made.feed(text), *made.end()]
