"""The comparison YAML: recipes × training seeds × epochs × decodings × policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from safeft.comparison.blocks import (
    Attack,
    Correction,
    Decodings,
    LmEval,
    Seed,
    Strict,
    Utility,
    Variant,
    each_level_once,
    each_once,
    refuse_unmeasured,
)
from safeft.comparison.settings import DATA, Setting, applied, is_asked, is_trained
from safeft.errors import ConfigError, did_you_mean
from safeft.generation.schema import TRANSFORMERS, VLLM, Endpoint, Engine, is_url
from safeft.models.quantized import Quantization
from safeft.training import Recipe, load_recipe

UNTUNED = "untuned"
REFERENCE = "baseline"
_LATER = (
    "format",
    "test_format",
    "skip_broken",
    "published",
    "suite_set",
    "engine",
    "responses",
    "vllm",
    "margins",
    "factors",
    "checkpoint",
    "quantization",
    "merged",
    "system_prompt",
    "chat_template",
    "data_subset",
    "bias",
    "bias_rows",
    "attack",
    "lm_eval",
)  # keys that the first runs did not know


class Matrix(Strict):
    """One comparison."""

    title: str = "Recipe comparison"
    model: str
    data: str | None = Field(None, description="training data: a shipped name, a path, a Hub id")
    test_data: str | None = Field(None, description="rows for held-out loss and ROUGE-L")
    format: str | None = Field(None, description="format of `data`, when its rows fit two")
    test_format: str | None = Field(None, description="the same for `test_data`")
    skip_broken: bool = Field(False, description="name broken rows and go on without them")
    rows: int | None = Field(None, gt=0, description="the first rows of the data; null = all")
    test_rows: int | None = Field(
        None, gt=0, description="the first rows of test_data; without it, rows held out of `data`"
    )
    recipes: list[Variant] = Field(default_factory=list)
    untuned: bool = Field(True, description="evaluate the model as it is, too")
    adapters: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(
        default_factory=dict, description="name → adapter folders trained elsewhere, one a seed"
    )
    responses: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(
        default_factory=dict, description="name → files of answers from elsewhere, one a seed"
    )
    set: list[str] = Field(default_factory=list, description="key=value overrides of every recipe")
    factors: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="what else varies → its values, the usual one first: a key of the recipes "
        "(lora.r), data_subset, or one of asking (quantization, merged, engine, system_prompt, …)",
    )
    data_subset: Seed | None = Field(
        None, description="draw `rows` of the data with this seed; null = the first"
    )
    training_seeds: list[Seed] = Field(default_factory=lambda: [0, 1, 2, 3, 4], min_length=1)
    engine: Engine = Field(
        TRANSFORMERS, description="what runs the model: transformers, vllm, or an endpoint's URL"
    )
    vllm: dict[str, Any] = Field(
        default_factory=dict, description="arguments of vllm.LLM, if `engine` is vllm"
    )
    endpoint: Endpoint = Field(
        default_factory=Endpoint, description="how an endpoint is asked, if `engine` is one"
    )
    checkpoint: str | None = Field(
        None, description="the checkpoint that answers in the model's place, such as its AWQ form"
    )
    quantization: Quantization | None = Field(None, description="bitsandbytes: int8, nf4 or fp4")
    merged: bool | None = Field(
        None, description="adapters in the weights, or beside them; null = as the engine does it"
    )
    system_prompt: str | None = Field(None, description="said before every prompt")
    chat_template: str | None = Field(None, description="a Jinja file in the tokenizer's place")
    suite: str = "safeft-44"
    suite_set: list[str] = Field(
        default_factory=list, description="key=value overrides of the suite"
    )
    per_category: int | None = Field(None, gt=0)
    decodings: Decodings = Field(default_factory=Decodings)
    curve_seeds: list[Seed] = Field(
        default_factory=list,
        description="training seeds whose earlier epochs are asked too, greedily",
    )
    policies: list[str] = Field(default_factory=list, description="guard policies beside `none`")
    published: str | None = Field(
        None, description="SORRY-Bench's leaderboard (model, overall) to lay beside the run"
    )
    bias: str | None = Field(None, description="BBQ's JSON Lines files, or one of them")
    bias_rows: int | None = Field(None, gt=0, description="as many of its questions; null = all")
    attack: Attack | None = Field(None, description="search each model for what gets through: TAP")
    lm_eval: LmEval | None = Field(
        None,
        description="arguments of lm_eval.simple_evaluate (and its TaskManager), `tasks` first",
    )
    judges: list[str] = Field(default_factory=lambda: ["encoder"], min_length=1)
    correction: Correction = Field(
        "prediction-powered", description="how labels given by hand correct the judges' rates"
    )
    reference: str = REFERENCE
    margins: dict[Utility, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="utility metric → the loss that would matter, set before"
    )
    level: float = Field(0.95, gt=0.5, lt=1)
    batch_size: int = Field(48, gt=0, description="prompts answered at once")
    # Twice as many as cells, or more, share a cell's decodings.
    workers: int | None = Field(None, gt=0, description="null = one a core, or one an accelerator")

    @field_validator("recipes", mode="before", json_schema_input_type=list[str | Variant])
    @classmethod
    def _names_are_variants(cls, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        return [{"recipe": one} if isinstance(one, str) else one for one in given]

    @field_validator(
        "training_seeds", "curve_seeds", mode="before", json_schema_input_type=int | list[Seed]
    )
    @classmethod
    def _count_is_a_range(cls, given: Any) -> Any:
        return list(range(given)) if type(given) is int else given  # true is no number

    _once = field_validator("training_seeds", "curve_seeds", "judges", "policies")(each_once)

    @model_validator(mode="after")
    def _consistent(self) -> Matrix:
        untuned = [UNTUNED] if self.untuned else []
        names = [*self.recipe_names(), *self.adapters, *self.responses, *untuned]
        if self.recipes and self.data is None:
            raise ValueError("data: recipes need training data; name a set or a path")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"recipes: the name {min(twice)!r} appears twice; give a `name`")
        if self.reference not in names:
            raise ValueError(
                f"reference: no recipe {self.reference!r}{did_you_mean(self.reference, names)}"
            )
        if self.remote and (self.recipes or self.adapters):
            raise ValueError("engine: an endpoint is asked as it is: leave out recipes, adapters")
        if self.vllm and VLLM not in (self.engine, *self.factors.get("engine", ())):
            raise ValueError("vllm: its arguments need `engine: vllm`")
        if self.endpoint != Endpoint() and not self.remote:
            raise ValueError("endpoint: `engine` is no URL; give one, or leave `endpoint` out")
        if not set(self.curve_seeds) <= set(self.training_seeds):
            raise ValueError("curve_seeds: each must be one of training_seeds")
        if self.attack and self.attack.judge not in (None, *self.judges):
            raise ValueError(
                f"attack.judge: {self.attack.judge!r} is none of `judges`; add it there, or leave "
                "it out for the first of them"
            )
        self._consistent_factors()
        engines = [self.engine, *self.factors.get("engine", ())] if self.asked else []
        refuse_unmeasured(self.lm_eval, engines, self.margins)
        return self

    def _consistent_factors(self) -> None:
        for key, levels in self.factors.items():
            each_level_once(key, levels)
            if not is_asked(key) and not self.recipes:
                raise ValueError(f"factors.{key}: is about training, and there are no recipes")
        if "decodings.top_p" in self.factors and not any(self.decodings.temperatures):
            raise ValueError("factors.decodings.top_p: temperature 0 draws nothing; add another")
        here = ("checkpoint", "quantization", "merged", "chat_template")
        used = [key for key in here if key in self.factors or getattr(self, key) is not None]
        if self.remote and used:
            raise ValueError(f"{used[0]}: an endpoint has weights and a template of its own")
        if VLLM in (self.engine, *self.factors.get("engine", ())) and "quantization" in used:
            raise ValueError(
                "quantization: is Transformers' (bitsandbytes); vLLM serves quantised models by "
                "name (checkpoint), or quantises them itself (vllm.quantization)"
            )
        if self.quantization and self.checkpoint:
            raise ValueError("quantization: a checkpoint has its own; leave one of them out")

    @property
    def remote(self) -> bool:
        """Whether an endpoint answers: there are no weights here to train or to measure."""
        return is_url(self.engine)

    @property
    def attack_judge(self) -> str:
        """Who says when an attack has reached its goal."""
        return (self.attack and self.attack.judge) or self.judges[0]

    @property
    def asked(self) -> bool:
        """Whether a model answers here at all; what was answered elsewhere is only judged."""
        return bool(self.untuned or self.recipes or self.adapters)

    def identity(self) -> dict[str, Any]:
        """What two commands must have in common to be one run.

        The number of workers is no part of it, nor how an endpoint is asked, nor how labels correct
        the report, nor a key that came later and is not used, so that a run from before goes on.
        """
        dumped = self.model_dump(mode="json", exclude={"workers", "endpoint", "correction"})
        if self.decodings.top_p == 1:
            del dumped["decodings"]["top_p"]
        fields = type(self).model_fields
        defaults = {key: fields[key].get_default(call_default_factory=True) for key in _LATER}
        return {
            key: value
            for key, value in dumped.items()
            if key not in defaults or value != defaults[key]
        }

    def under(self, values: Mapping[str, Any]) -> Matrix:
        """The comparison with other values of some keys; ConfigError when they do not fit."""
        return made(**applied(self.model_dump(), values)) if values else self

    @property
    def usual(self) -> Matrix:
        """The comparison with the first level of every factor of its own keys."""
        first = {
            key: levels[0] for key, levels in self.factors.items() if is_asked(key) or key in DATA
        }
        return self.under(first)

    def recipe_names(self) -> list[str]:
        """The names under which the recipes are reported."""
        return [
            variant.name or variant.recipe.rpartition("/")[2].removesuffix(".yaml")
            for variant in self.recipes
        ]


def made(**values: Any) -> Matrix:
    """The comparison of these values, as options give them. Raises ConfigError naming the key."""
    try:
        return Matrix(**values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from error


def recipes(matrix: Matrix, setting: Setting | None = None) -> dict[str, Recipe]:
    """Every recipe by its reported name, overrides applied, and the factors' levels."""
    first = [
        f"{key}={json.dumps(levels[0])}"
        for key, levels in matrix.factors.items()
        if is_trained(key)
    ]
    varied = [*first, *(setting.trained if setting else ())]
    return {
        name: load_recipe(variant.recipe, [*matrix.set, *variant.set, *varied])
        for name, variant in zip(matrix.recipe_names(), matrix.recipes, strict=True)
    }
