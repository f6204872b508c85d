"""The parts of a comparison's YAML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from safeft.errors import did_you_mean
from safeft.generation.schema import AUTO, TRANSFORMERS
from safeft.records import Decoding
from safeft.report.cells import LM_EVAL

_UTILITIES = ("held_out_loss", "rouge_l", "exact_match", "final_answer_accuracy", "choice_accuracy")


def _is_utility(metric: str) -> str:
    if metric not in _UTILITIES and not metric.startswith(LM_EVAL):
        hint = did_you_mean(metric, (*_UTILITIES, f"{LM_EVAL}TASK/METRIC"))
        raise ValueError(f"no utility metric {metric!r}{hint}")
    return metric


Utility = Annotated[str, AfterValidator(_is_utility)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Correction = Literal["prediction-powered", "rogan-gladen"]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """Unknown keys are errors, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def each_once(given: list[Any]) -> list[Any]:
    """The list, if nothing in it repeats. Raises ValueError for pydantic to report."""
    twice = [one for one in given if given.count(one) > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} appears twice; keep one")
    return given


def each_level_once(key: str, levels: list[Any]) -> None:
    """Raises ValueError for a factor that has a level twice."""
    written = [json.dumps(one) for one in levels]
    if twice := [one for one in written if written.count(one) > 1]:
        raise ValueError(f"factors.{key}: {twice[0]} appears twice; keep one")


class Variant(Strict):
    """A recipe under a name of its own, with overrides."""

    recipe: str
    name: str | None = None
    set: list[str] = Field(default_factory=list, description="key=value overrides of the recipe")


class LmEval(Strict):
    """What lm-eval measures: its own arguments, under its own names, besides `tasks`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    tasks: list[str] = Field(min_length=1, description="lm-eval's names, or paths of task YAMLs")

    _once = field_validator("tasks")(each_once)


def refuse_unmeasured(given: LmEval | None, engines: Sequence[str], margins: Iterable[str]) -> None:
    """Raises ValueError where lm-eval finds no weights, and for margins of what it is not asked.

    `engines` run the comparison's models; none when nothing is asked here.
    """
    named = [metric for metric in margins if metric.startswith(LM_EVAL)]
    if given is None and named:
        raise ValueError(f"margins.{named[0]}: is lm-eval's; name its task in lm_eval.tasks")
    if given and not (engines and {*engines} <= {AUTO, TRANSFORMERS}):
        raise ValueError(
            "lm_eval: measures weights that lie in this process: it needs `engine: transformers` "
            "throughout, and a model that is asked here; leave lm_eval out, or the other engine"
        )


class Decodings(Strict):
    """Greedy (temperature 0) is drawn once; each other temperature with every decoding seed."""

    temperatures: list[Temperature] = Field(default_factory=lambda: [0.0], min_length=1)
    seeds: list[Seed] = Field(default_factory=lambda: [0], min_length=1)
    top_p: float = Field(1.0, gt=0, le=1, description="of the probability that sampling keeps")

    _once = field_validator("temperatures", "seeds")(each_once)

    def all(self, max_new_tokens: int) -> list[Decoding]:
        """Every decoding."""
        return [
            Decoding(temperature, seed, max_new_tokens, self.top_p if temperature > 0 else 1.0)
            for temperature in sorted(set(self.temperatures))
            for seed in (self.seeds if temperature > 0 else [0])
        ]


class Attack(Strict):
    """TAP against every model of the comparison; the tree's size defaults to the paper's."""

    attacker: str = Field(description="the model that writes the requests")
    attacker_url: str = Field("", description="its endpoint, if it has one")
    evaluator: str | None = Field(None, description="the model that prunes; null = nothing is")
    evaluator_url: str = Field("", description="its endpoint, if it has one")
    judge: str | None = Field(
        None, description="says when a goal is reached: one of `judges`; null = the first"
    )
    suite: str = Field("safeft-44", description="its requests are the goals")
    set: str = "harm"
    per_category: int | None = Field(None, gt=0, description="only the first goals of each")
    words: str = Field(
        "tap", description="what attacker and evaluator hear: eval/attacks or a path"
    )
    depth: int = Field(10, gt=0, description="rounds")
    width: int = Field(10, gt=0, description="requests kept after each round")
    branching: int = Field(4, gt=0, description="refinements of each")
    max_new_tokens: int = Field(150, gt=0, description="of the attacked model's answers")
