"""What the guard found, in the shapes of the OpenAI API."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from safeft.guarding.decision import Decision, Outcome
from safeft.serve.problems import GUARD_FAILED

OPENAI_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_RANKS: tuple[Outcome, ...] = ("allow", "log", "bypass", "modify", "block", "error")


def moderation(asked: Sequence[Decision], answered: Sequence[Sequence[Decision]]) -> dict[str, Any]:
    """The `moderation` object of a chat completion: the request's, and one result a choice."""
    return {"input": side([asked] if asked else []), "output": side(answered)}


def side(texts: Sequence[Sequence[Decision]]) -> dict[str, Any]:
    """The results of some texts, or the failure of the guard as a value of its own."""
    for decision in (one for decisions in texts for one in decisions):
        if decision.unsafe is None:
            message = f"the guard could not check this ({decision.error})"
            return {"type": "error", "code": GUARD_FAILED, "message": message}
    results = [
        {"type": "moderation_result", "model": _judge(decisions), **result(decisions)}
        for decisions in texts
    ]
    model = _judge([one for decisions in texts for one in decisions])
    return {"type": "moderation_results", "model": model, "results": results}


def result(decisions: Iterable[Decision]) -> dict[str, Any]:
    """Which categories were reached, and the highest score of each."""
    scores: dict[str, float] = {}
    reached: dict[str, bool] = {}
    for one in decisions:
        if one.category and not math.isnan(one.score):
            scores[one.category] = max(scores.get(one.category, 0.0), one.score)
            reached[one.category] = reached.get(one.category, False) or one.action != "allow"
    return {
        "flagged": any(reached.values()),
        "categories": reached,
        "category_scores": scores,
        "category_applied_input_types": {category: ["text"] for category in scores},
    }


def listed(found: Mapping[str, Any]) -> dict[str, Any]:
    """A result with all of OpenAI's categories, those of the policy beside them."""
    scores = dict.fromkeys(OPENAI_CATEGORIES, 0.0) | found["category_scores"]
    return {
        "flagged": found["flagged"],
        "categories": dict.fromkeys(OPENAI_CATEGORIES, False) | found["categories"],
        "category_scores": scores,
        "category_applied_input_types": {category: ["text"] for category in scores},
    }


def strongest(decisions: Iterable[Decision]) -> Outcome:
    """The outcome that a response is named after."""
    return max((one.outcome for one in decisions), key=_RANKS.index, default="allow")


def _judge(decisions: Sequence[Decision]) -> str:
    return next((one.judge for one in decisions if one.judge), "none")
