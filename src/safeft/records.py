"""The nouns that flow through safeft: Prompt, Response, Verdict, Estimate.

Everything here is a frozen dataclass of plain values, so a record can be written to JSON and read
back without knowing which stage made it. Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

Finish = Literal["stop", "length", "withheld"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn; `role` is system, user or assistant."""

    role: str
    content: str


def instructed(messages: tuple[Message, ...], system: str) -> tuple[Message, ...]:
    """The turns after a system prompt, which takes the place of one that they began with."""
    turns = messages[1:] if messages[:1] and messages[0].role == "system" else messages
    return (Message("system", system), *turns)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: chat messages that end with a user turn, and where they belong.

    `request` is the plain request behind a mutated one, `cipher` what the prompt is encoded in.
    `begun` is what the model's answer is made to begin with.
    """

    id: str
    messages: tuple[Message, ...]
    category: str = ""
    domain: str = ""
    request: str = ""
    cipher: str = ""
    begun: str = ""

    @property
    def text(self) -> str:
        """What judges read as the request: the plain one, else the last user turn."""
        return self.request or self.asked

    @property
    def asked(self) -> str:
        """The last user turn, as the model sees it."""
        return self.messages[-1].content

    @classmethod
    def of(cls, text: str, id: str = "0", category: str = "", domain: str = "") -> Prompt:
        """A single-turn prompt."""
        return cls(id, (Message("user", text),), category, domain)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is drawn. Temperature 0 is greedy and ignores the seed and top_p."""

    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int = 128
    top_p: float = 1.0

    @property
    def name(self) -> str:
        """Folder name of this decoding, e.g. `t0`, `t0.7-s2` or `t0.7-p0.9-s2`."""
        kept = "" if self.top_p == 1 else f"-p{self.top_p:g}"
        return "t0" if self.temperature == 0 else f"t{self.temperature:g}{kept}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answered. `finish` is `length` when it was cut off, `withheld` by a guard.

    `served` is the fingerprint that an endpoint gave of the system that answered.
    """

    prompt: Prompt
    text: str
    finish: Finish = "stop"
    tokens: int = 0
    served: str = ""


class Label(StrEnum):
    """A judge's reading of one response."""

    FULFILLED = "fulfilled"  # on topic and tries to do what was asked
    REFUSED = "refused"  # declines, partly or fully
    NEITHER = "neither"  # off topic, broken or empty
    UNREAD = "unread"  # the judge's own output could not be read


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judge's label for one response, with its scores and the judge's identity.

    `reason` says why an answer is `neither` (`repetitive`, `off_topic`, …), where the judge can.
    """

    prompt_id: str
    label: Label
    judge: str
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def unsafe(self) -> bool | None:
        """True when the request was fulfilled, False when not, None when nobody could tell."""
        return None if self.label is Label.UNREAD else self.label is Label.FULFILLED


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that can be defended: its interval, how many prompts and seeds, and the method."""

    estimate: float
    low: float
    high: float
    n: int
    n_seeds: int
    minimum: float
    maximum: float
    method: str


@dataclass(frozen=True, slots=True)
class Row:
    """The keys that every line of `estimates.json` carries (docs/estimates.md)."""

    recipe: str
    model: str
    data: str
    policy: str
    engine: str
    suite: str
    metric: str
    judge: str
    epoch: int
    temperature: float
    group: str = "overall"


@dataclass(frozen=True, slots=True)
class EstimateRow:
    """One line of `estimates` in `estimates.json`."""

    row: Row
    value: Estimate

    def flat(self) -> dict[str, Any]:
        """The documented flat record."""
        return asdict(self.row) | asdict(self.value)


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One line of `comparisons`: this recipe minus `reference`, simultaneous over recipes.

    `detectable` is the smallest true difference that it would have shown with 80 % power.
    `p_lost` tests that the recipe lost `margin` or more, where a margin was set beforehand: it is
    Holm-adjusted over recipes, and small when no such loss is left. In a category's row p is
    adjusted over categories (Benjamini-Hochberg), and the interval stands alone.
    """

    row: Row
    reference: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    n: int = 0
    n_seeds: int = 0
    detectable: float = math.nan
    method: str = ""
    margin: float = math.nan
    p_lost: float = math.nan

    def flat(self) -> dict[str, Any]:
        """The documented flat record."""
        record = asdict(self)
        row: dict[str, Any] = record.pop("row")
        return row | record


@dataclass(frozen=True, slots=True)
class VarianceRow:
    """One line of `variance`: a component's standard deviation and its share of the total."""

    recipe: str
    suite: str
    metric: str
    component: str
    standard_deviation: float
    low: float
    high: float
    share: float
    judge: str = ""
    epoch: int = 0
    temperature: float = 0.0

    def flat(self) -> dict[str, Any]:
        """The documented flat record."""
        return asdict(self)
