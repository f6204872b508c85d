"""A policy: what is read at each stage, from which score on something is done, and what that is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safeft.assets import find, read_yaml

OnError = Literal["closed", "open"]
StageName = Literal["input", "output", "reasoning", "tool_calls"]
Action = Literal["allow", "log", "redact", "replace", "regenerate", "block"]
STAGES: tuple[StageName, ...] = get_args(StageName)
ACTIONS: tuple[Action, ...] = get_args(Action)
"""From the mildest to the strongest: of several categories the strongest action is taken."""

_WHOLE = ("redact", "replace", "regenerate")
"""What only an answer's words can suffer: a request or a tool's arguments would change meaning."""

_STREAMED = ("window", "first_window", "overlap", "regenerate")
"""What a request knows nothing of: it is read whole, and once."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Rule(_Strict):
    """What one category does otherwise than its stage; no other category is touched."""

    threshold: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="null: as the stage"
    )
    action: Action | None = Field(None, description="null: as the stage")


class Escalation(_Strict):
    """A second judge for what the first one is unsure of."""

    judge: str = Field(min_length=1, description="who decides instead; named as `judge` is")
    low: float = Field(
        0.2, ge=0, le=1, description="asked from this largest score of the first judge on"
    )
    high: float = Field(0.8, ge=0, le=1, description="and below this one, or if it is unread")

    @model_validator(mode="after")
    def _ordered(self) -> Escalation:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Stage(_Strict):
    """How one stage is read."""

    judge: str = Field(
        "encoder-guard",
        min_length=1,
        description="encoder-guard, examples, a name or path of guardrails/judges, a probe's card, "
        "or an installed package's",
    )
    threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="`action` is taken from this score on; lower acts more often",
    )
    action: Action = Field(
        "block",
        description="for every category without one of its own: allow, log (and release), redact "
        "the window, replace the answer, regenerate it, or block; the strongest one wins",
    )
    categories: dict[str, Rule] = Field(
        default_factory=dict, description="categories that differ; the others stay as above"
    )
    examples: dict[str, list[str]] = Field(
        default_factory=dict,
        description="categories of your own, for `judge: examples`: sentences that belong to each",
    )
    escalate: Escalation | None = Field(None, description="who reads what `judge` is unsure of")
    on_error: OnError = Field(
        "closed", description="when no judge can tell: closed withholds, open releases unread"
    )
    timeout: float = Field(10.0, gt=0, le=3600, description="seconds for one check")
    window: int = Field(32, ge=4, description="tokens, about, that are checked at once")
    first_window: int = Field(16, ge=4, description="the same for the first, so that it comes soon")
    overlap: int = Field(32, ge=0, description="tokens before a window that are read with it")
    regenerate: int = Field(
        2, ge=1, le=10, description="how often `regenerate` asks for another answer, then blocks"
    )

    @model_validator(mode="after")
    def _examples_have_a_reader(self) -> Stage:
        if bool(self.examples) != (self.judge == "examples"):
            raise ValueError("`judge: examples` and `examples` belong together")
        for category, sentences in self.examples.items():
            if not category.strip() or not sentences or not all(map(str.strip, sentences)):
                raise ValueError("examples: a category needs a name and at least one sentence")
        return self

    @model_validator(mode="after")
    def _asks_another(self) -> Stage:
        if self.escalate is not None and self.escalate.judge == self.judge:
            raise ValueError(f"escalate.judge: {self.judge} would be asked twice; name another")
        return self

    def rule(self, category: str) -> tuple[float, Action]:
        """The threshold and the action of a category."""
        own = self.categories.get(category, Rule())
        threshold = self.threshold if own.threshold is None else own.threshold
        return threshold, own.action or self.action


class Policy(_Strict):
    """One YAML file of `guardrails/`; unknown keys and converted types are errors."""

    name: str = Field(min_length=1, description="how reports call this policy")
    input: Stage | None = Field(None, description="requests, before the model reads them")
    output: Stage | None = Field(None, description="answers, in windows, before they leave")
    reasoning: Stage | None = Field(None, description="what a model writes before its answer")
    tool_calls: Stage | None = Field(None, description="the arguments of tool calls")
    refusal: str = Field(min_length=1, description="what the user reads instead")
    redaction: str = Field("[removed]", description="what stands where a window was redacted")
    turns: int = Field(
        4, ge=1, description="how many turns of a conversation judges see, the last one included"
    )
    decode: bool = Field(True, description="also read what is encoded (base64, rot13, …) plainly")
    streaming: Literal["checked", "optimistic"] = Field(
        "checked", description="optimistic releases first and checks then: it leaks, and says so"
    )

    @model_validator(mode="after")
    def _possible(self) -> Policy:
        if not self.stages:
            raise ValueError(f"a policy needs at least one stage: {', '.join(STAGES)}")
        for name, stage in self.stages.items():
            taken = {stage.action, *(one.action for one in stage.categories.values() if one.action)}
            if name != "output" and (wrong := taken.intersection(_WHOLE)):
                raise ValueError(
                    f"{name}: {min(wrong)} is for output alone; use allow, log or block"
                )
        for key in _STREAMED if self.input is not None else ():
            if getattr(self.input, key) != Stage.model_fields[key].default:
                raise ValueError(f"input.{key}: a request is read whole, and once; remove it")
        return self

    @property
    def stages(self) -> dict[StageName, Stage]:
        """The stages that are read, in the order of a request."""
        found = {name: getattr(self, name) for name in STAGES}
        return {name: stage for name, stage in found.items() if stage is not None}


def load_policy(name_or_path: str | Path) -> Policy:
    """The shipped policy of that name, or the policy in a YAML file.

    Raises ConfigError naming the file and the key.
    """
    return read_yaml(find("guardrails", str(name_or_path)), Policy)
