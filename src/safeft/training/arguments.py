"""TRL's and PEFT's arguments, held against those libraries' own types before anything is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from safeft.errors import ConfigError, did_you_mean, nearest
from safeft.models import default_precision
from safeft.models.quantized import check_quantization
from safeft.training.schema import Recipe

# What the libraries raise, somewhere inside, for a value that they do not understand: an unknown
# `bias` is a NotImplementedError of PEFT's.
REFUSALS = (
    TypeError,
    ValueError,
    ImportError,
    NotImplementedError,
    AttributeError,
    LookupError,
    re.error,
)
# What people call an argument elsewhere, where the nearest spelling would mislead.
_ALIASES = {
    "lora.rank": "r",
    "trainer.lr": "learning_rate",
    "trainer.batch_size": "per_device_train_batch_size",
    "trainer.epochs": "num_train_epochs",
}
_WORDS = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "dict_type": "a mapping",
    "list_type": "a list",
    "string_pattern_mismatch": "name=value, name=value, …",
    "none_required": "null",
}
_COUNT = Field(ge=1)
_NOT_NEGATIVE = Field(ge=0, allow_inf_nan=False)
_SHARE = Field(ge=0, lt=1)
# The libraries take any number here and fail, or learn nothing, much later.
_BOUNDS = {
    "lora.r": _COUNT,
    "lora.lora_alpha": Field(gt=0),
    "lora.lora_dropout": _SHARE,
    "trainer.adam_beta1": _SHARE,
    "trainer.adam_beta2": _SHARE,
    "trainer.adam_epsilon": _NOT_NEGATIVE,
    "trainer.gradient_accumulation_steps": _COUNT,
    "trainer.label_smoothing_factor": Field(ge=0, le=1),
    "trainer.learning_rate": _NOT_NEGATIVE,
    "trainer.logging_steps": Field(gt=0, allow_inf_nan=False),
    "trainer.max_grad_norm": _NOT_NEGATIVE,
    "trainer.neftune_noise_alpha": _NOT_NEGATIVE,
    "trainer.per_device_eval_batch_size": _COUNT,
    "trainer.per_device_train_batch_size": _COUNT,
    "trainer.warmup_steps": _NOT_NEGATIVE,
    "trainer.weight_decay": _NOT_NEGATIVE,
}
# Annotated too widely, or too narrowly (`pissa_niter_16` is one of PEFT's own).
_TYPES: dict[str, Any] = {
    "trainer.lr_scheduler_kwargs": dict[str, Any] | None,
    "trainer.optim_args": Annotated[str, Field(pattern=r"^[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*$")] | None,
    "lora.init_lora_weights": bool | str,
}


def check_arguments(recipe: Recipe) -> None:
    """Raises ConfigError for what TRL or PEFT would refuse, before a model or data is needed."""
    if recipe.quantization:
        check_quantization(recipe.quantization)
    lora_config(recipe)
    _check_patterns(recipe)
    config = sft_config(recipe, Path("unused"), seed=0, half=False, quiet=True)
    if recipe.trainer.get("lr_scheduler_kwargs"):
        made(recipe, lambda: _schedule(config), "trainer.lr_scheduler_kwargs: ")


def sft_config(recipe: Recipe, work: Path, *, seed: int, half: bool, quiet: bool) -> Any:
    """TRL's configuration: safeft's defaults, then the recipe's, then what safeft owns."""
    import torch
    from trl import SFTConfig

    defaults = {
        "bf16": half,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": 5,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "data_seed": seed,
    }
    ours = {
        "output_dir": str(work),
        "seed": seed,
        "save_strategy": "epoch",
        "max_length": recipe.max_length,
        "disable_tqdm": quiet,
    }
    given = _known(recipe, "trainer", recipe.trainer, SFTConfig)
    if given.get("padding_free") and not given.get("packing"):
        ours["max_length"] = None  # TRL does not cut there, and the rows are cut already
    return made(recipe, lambda: SFTConfig(**{**defaults, **given, **ours}), "trainer: ")


def precision_of(recipe: Recipe) -> str:
    """What the model computes in: the recipe's, or what suits this machine."""
    return default_precision() if recipe.precision == "auto" else recipe.precision


def lora_config(recipe: Recipe, **instead: Any) -> Any:
    """PEFT's configuration, with `instead` in place of what the recipe says; None without LoRA."""
    if recipe.lora is None:
        return None
    from peft import LoraConfig

    given = _known(recipe, "lora", recipe.lora, LoraConfig)
    arguments = {"task_type": "CAUSAL_LM", **given, **instead}
    return made(recipe, lambda: LoraConfig(**arguments), "lora: ")


def made(recipe: Recipe, make: Callable[[], Any], where: str) -> Any:
    """What `make` makes; ConfigError names the key when a library refuses one."""
    try:
        return make()
    except REFUSALS as error:
        raise ConfigError(f"recipe {recipe.name}: {where}{blamed(recipe, error)}") from error


def blamed(recipe: Recipe, error: Exception) -> str:
    """The library's words after the first given key that they speak of."""
    said = str(error).strip() or type(error).__name__
    given = [(where, key) for where in ("lora", "trainer") for key in getattr(recipe, where) or ()]
    named = [f"{where}.{key}" for where, key in given if re.search(rf"\b{re.escape(key)}\b", said)]
    return f"{named[0]}: {said}" if named else said


def _known(recipe: Recipe, where: str, given: dict[str, Any], kind: Any) -> dict[str, Any]:
    """The given arguments, when `kind` has them all and takes such values."""
    hints = _hints(kind)
    for key, value in given.items():
        place = f"{where}.{key}"
        problem = _problem(place, hints[key], value) if key in hints else _unknown(place, hints)
        if problem:
            raise ConfigError(f"recipe {recipe.name}: {problem}")
    return given


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if not name.startswith("_")}


def _unknown(place: str, hints: Mapping[str, Any]) -> str:
    if alias := _ALIASES.get(place):
        return f"unknown key {place}; did you mean {alias!r}?"
    return f"unknown key {place}{nearest(place.partition('.')[2], hints)}"


def _problem(place: str, hint: Any, value: Any) -> str:
    """What is wrong with the value of a known key, or nothing."""
    names = _choices(hint)
    if names and isinstance(value, str):
        return (
            "" if value in names else f"{place}: {value!r} is not known{did_you_mean(value, names)}"
        )
    try:
        _adapter(place, hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        return f"{place}: must be {_wanted(error)}, not {value!r}"
    return ""


def _choices(hint: Any) -> list[str]:
    """The values of an enumeration that is annotated beside `str`, which would let all pass."""
    kinds = [one for one in get_args(hint) if isinstance(one, type) and issubclass(one, Enum)]
    return [str(member.value) for kind in kinds for member in kind]


def _adapter(place: str, hint: Any) -> TypeAdapter[Any]:
    kind: Any = _TYPES.get(place, hint)
    if bound := _BOUNDS.get(place):
        kind = Annotated[kind, bound]
    try:
        return TypeAdapter(kind)
    except PydanticSchemaGenerationError:  # a type that only the library can check
        return TypeAdapter(Any)


def _wanted(error: ValidationError) -> str:
    """What would be right, in words; a union is right in several ways."""
    found = error.errors()
    said = (_WORDS.get(one["type"], one["msg"].removeprefix("Input should be ")) for one in found)
    return " or ".join(dict.fromkeys(said))


def _check_patterns(recipe: Recipe) -> None:
    """A text stands for names by a regular expression, which PEFT compiles too late."""
    for key in ("target_modules", "exclude_modules"):
        if isinstance(pattern := (recipe.lora or {}).get(key), str):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"recipe {recipe.name}: lora.{key}: {pattern!r} is no regular expression "
                    f"({error}); give a list of names, or a valid expression"
                ) from error


def _schedule(config: Any) -> Any:
    """A schedule like the one that the trainer makes only after all that is slow."""
    import torch
    from transformers import get_scheduler

    return get_scheduler(
        config.lr_scheduler_type,
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate),
        num_warmup_steps=1,
        num_training_steps=10,
        scheduler_specific_kwargs=config.lr_scheduler_kwargs,
    )
