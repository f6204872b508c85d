"""A decision: what a policy does about one verdict. Only a clear no to `unsafe` releases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from safeft.guarding.policy import ACTIONS, Action, Escalation, Stage, StageName
from safeft.records import Verdict

Outcome = Literal["allow", "log", "modify", "block", "error", "bypass"]
_COUNTED: dict[Action, Outcome] = {
    "allow": "allow",
    "log": "log",
    "redact": "modify",
    "replace": "modify",
    "regenerate": "modify",
    "block": "block",
}
OVERALL = "unsafe"
"""The score that a judge without categories gives."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about one text at one stage, and why.

    `unsafe` is True when a threshold was reached whose action holds text back, False when nothing
    stands against it, and None when nobody could tell: `error` says what failed then, and
    `released` whether the stage's `on_error: open` lets it go unread. `policy` names the
    one that a server decided by, which another may have replaced since.
    """

    stage: StageName
    action: Action = "allow"
    unsafe: bool | None = False
    category: str = ""
    score: float = math.nan
    judge: str = ""
    error: str = ""
    released: bool = False
    escalated: bool = False
    policy: str = ""

    @property
    def clears(self) -> bool:
        """Whether the text may leave as it is."""
        return self.unsafe is False or (self.unsafe is None and self.released)

    @property
    def outcome(self) -> Outcome:
        """How it is counted: a failure is never counted as a block, nor one let go as allowed."""
        if self.unsafe is None:
            return "bypass" if self.released else "error"
        return _COUNTED[self.action]


def decide(name: StageName, stage: Stage, verdict: Verdict, *, escalated: bool = False) -> Decision:
    """The strongest action of all categories whose score reaches their threshold.

    A score that is no number from 0 to 1 is nonsense, and the text counts as unread. So does one
    that was read in part, unless what was read is enough to hold it back.
    """
    scores, whole = scored(verdict)
    found = _strongest(name, stage, scores) if scores else failed(name, stage, "unread")
    if not whole and not found.unsafe:
        lost = failed(name, stage, "unread")
        found = replace(lost, category=found.category, score=found.score)
    return replace(found, judge=verdict.judge, escalated=escalated)


def _strongest(name: StageName, stage: Stage, scores: Mapping[str, float]) -> Decision:
    reached = [
        (ACTIONS.index(action), score - threshold, category)
        for category, score in scores.items()
        for threshold, action in [stage.rule(category)]
        if score >= threshold
    ]
    if not reached:
        category = max(scores, key=lambda one: scores[one])
        return Decision(name, "allow", False, category, scores[category])
    rank, _, category = max(reached)
    action = ACTIONS[rank]
    return Decision(name, action, action not in ("allow", "log"), category, scores[category])


def unsure(band: Escalation, verdict: Verdict) -> bool:
    """Whether a second judge is wanted: the largest score is in the band, or nobody could tell."""
    scores, whole = scored(verdict)
    return not whole or band.low <= max(scores.values()) < band.high


def scored(verdict: Verdict) -> tuple[dict[str, float], bool]:
    """The score of each category, and whether all of the text was read.

    Without scores the label speaks. An unread verdict may have scores of a part that was read.
    """
    if not all(0 <= one <= 1 for one in verdict.scores.values()):
        return {}, False
    if verdict.unsafe is None:
        return verdict.scores, False
    return verdict.scores or {OVERALL: float(verdict.unsafe)}, True


def failed(name: StageName, stage: Stage, error: str, *, judge: str = "") -> Decision:
    """Nobody could tell: the stage's `on_error` says what becomes of the text."""
    released = stage.on_error == "open"
    action: Action = "allow" if released else "block"
    return Decision(name, action, None, judge=judge, error=error, released=released)
