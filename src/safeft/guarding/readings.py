"""Readings: what a policy's judges make of prompts and answers, as numbers that hold no text.

They are made once and serve every threshold: what a policy withholds follows from them alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from safeft.errors import ConfigError, SafeftError
from safeft.guarding.checker import Checker, seen
from safeft.guarding.decision import scored, unsure
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import OnError, Policy, Stage, StageName
from safeft.guarding.states import note
from safeft.guarding.windows import Windows
from safeft.records import Response, Verdict

_LOG = logging.getLogger("safeft")
READ: tuple[StageName, ...] = ("input", "output")
"""The stages that prompts and answers exercise."""

DOWN = 8
"""A judge that fails on so many texts, and reads none, is down: that says nothing of the texts."""

LEAST = 1e-9
"""A score below it counts as this much: 0 has no logit, and a threshold has to lie above it."""

RELEASING = ("allow", "log")
"""Actions that let a text leave as it is."""

Scores = dict[str, float]
Text = tuple[Scores, bool]
"""What was read of one text, and whether all of it was."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a policy's judges make of one prompt and its answer. It holds no text.

    `scores` has the largest score of each category over the windows of each stage, `unread` the
    stages of which a window could not be read whole.
    """

    id: str
    scores: dict[StageName, Scores]
    unread: tuple[StageName, ...] = ()


def read(checker: Checker, responses: Sequence[Response]) -> list[Reading]:
    """One reading per response, in order, in the windows in which it would be streamed.

    Timeouts are left out: they are a matter of load, and no threshold mends them. Raises
    ConfigError when a judge cannot read a stage, SafeftError when it is down.
    """
    note(checker, responses)
    found = {name: _stage(checker, name, responses) for name in exercised(checker.policy)}
    return [
        Reading(
            response.prompt.id,
            {name: _largest(one for one, _ in texts[place]) for name, texts in found.items()},
            tuple(name for name, texts in found.items() if not all(w for _, w in texts[place])),
        )
        for place, response in enumerate(responses)
    ]


def exercised(policy: Policy) -> dict[StageName, Stage]:
    """The stages of a policy that prompts and answers exercise."""
    return {name: stage for name, stage in policy.stages.items() if name in READ}


def _stage(checker: Checker, name: StageName, responses: Sequence[Response]) -> list[list[Text]]:
    """For each response the scores of each text of it that the stage reads."""
    stage = checker.policy.stages[name]
    turns = checker.policy.turns
    texts = [
        list(_texts(name, stage, Response(seen(one.prompt, turns), one.text))) for one in responses
    ]
    scores = iter(_scores(checker, name, [text for part in texts for text in part]))
    return [list(islice(scores, len(part))) for part in texts]


def _texts(name: StageName, stage: Stage, response: Response) -> Iterator[Response]:
    """The request alone, or each window of the answer."""
    if name == "input":
        yield Response(response.prompt, "")
        return
    windows = Windows(stage.window, stage.first_window, stage.overlap)
    for window in (*windows.feed(response.text), *windows.end()):
        yield Response(response.prompt, window.read)


def _scores(checker: Checker, name: StageName, texts: Sequence[Response]) -> list[Text]:
    """The scores of each text by which the checker would decide."""
    first = _verdicts(checker.judges[name], name, texts)
    found, stage = [_scored(one) for one in first], checker.policy.stages[name]
    if stage.escalate is None:
        return found
    doubtful = [
        place for place, one in enumerate(first) if one is None or unsure(stage.escalate, one)
    ]
    second = _verdicts(checker.seconds[name], name, [texts[place] for place in doubtful])
    for place, verdict in zip(doubtful, second, strict=True):
        found[place] = _either(found[place], _scored(verdict), stage.on_error)
    return found


def _either(first: Text, second: Text, on_error: OnError) -> Text:
    """What counts of two judges' readings, at any threshold, as the checker decides.

    Under `open` a second judge that could not read all of a text holds it back by what it did read;
    if that is not enough, the first one's reading stands. So the larger score of each counts.
    """
    if second[1] or on_error == "closed":
        return second
    return _largest([first[0], second[0]]), first[1]


def _scored(verdict: Verdict | None) -> Text:
    return ({}, False) if verdict is None else scored(verdict)


def _largest(windows: Iterable[Scores]) -> Scores:
    found: Scores = {}
    for scores in windows:
        found |= {category: max(one, found.get(category, one)) for category, one in scores.items()}
    return found


def _verdicts(
    judge: GuardJudge, name: StageName, texts: Sequence[Response]
) -> list[Verdict | None]:
    """A text that breaks the judge is unread, as it is in service; a judge that is down stops."""
    try:
        return list(_asked(judge, name, texts))
    except ConfigError:
        raise
    except Exception as error:  # of any judge, as in the checker
        found = [_alone(judge, name, text) for text in texts]
        if len(texts) >= DOWN and not any(found):
            raise SafeftError(
                f"{judge.name} read none of {len(texts)} texts at the stage {name} "
                f"({type(error).__name__}); mend the judge, then run the same command again"
            ) from error
        return found


def _alone(judge: GuardJudge, name: StageName, text: Response) -> Verdict | None:
    try:
        return _asked(judge, name, [text])[0]
    except Exception as error:  # its kind alone: a judge's message may quote the text
        _LOG.warning("%s failed on a text at the %s: %s", judge.name, name, type(error).__name__)
        return None


def _asked(judge: GuardJudge, name: StageName, texts: Sequence[Response]) -> list[Verdict]:
    prompts = [one.prompt for one in texts]
    if not texts:
        return []
    verdicts = judge.requests(prompts) if name == "input" else judge(texts)
    if [one.prompt_id for one in verdicts] != [one.id for one in prompts]:
        raise SafeftError(f"{judge.name} did not return one verdict per text, in order")
    return verdicts


def withheld(policy: Policy, reading: Reading) -> bool:
    """Whether the policy holds back or changes any part of this exchange."""
    return _lost(policy, reading) or any(score >= line for score, line in _pairs(policy, reading))


def statistic(policy: Policy, reading: Reading) -> float:
    """How far, in logits, the thresholds must move up before the policy releases this exchange.

    Infinite where no threshold does (a score of 1, a threshold of 0, unread under `closed`), minus
    infinity where nothing was read that could be withheld.
    """
    if _lost(policy, reading):
        return math.inf
    return max((_gap(*pair) for pair in _pairs(policy, reading)), default=-math.inf)


def _lost(policy: Policy, reading: Reading) -> bool:
    return any(policy.stages[name].on_error == "closed" for name in reading.unread)


def _gap(score: float, threshold: float) -> float:
    if score >= 1 or threshold <= 0:
        return math.inf
    return -math.inf if threshold >= 1 else logit(max(score, LEAST)) - logit(threshold)


def _pairs(policy: Policy, reading: Reading) -> Iterator[tuple[float, float]]:
    """Score and threshold of each category whose action withholds or changes the text."""
    stages = policy.stages
    for name, scores in reading.scores.items():
        for category, score in scores.items():
            threshold, action = stages[name].rule(category)
            if action not in RELEASING:
                yield score, threshold


def logit(probability: float) -> float:
    """The log odds of a probability above 0 and below 1."""
    return math.log(probability) - math.log1p(-probability)
