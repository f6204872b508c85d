"""TRL's SFTTrainer, built from a recipe; its errors become messages that name the YAML key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from safeft.errors import ConfigError, did_you_mean
from safeft.training.schema import Recipe

# What an argument that is annotated as one of these may be, and how that is called.
_PLAIN: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
}


def check_arguments(recipe: Recipe) -> None:
    """Raises ConfigError for what TRL or PEFT would refuse, before a model or data is needed."""
    _sft_config(recipe, Path("unused"), seed=0, half=False, quiet=True)
    _lora_config(recipe)


def build(
    recipe: Recipe,
    model: Any,
    tokenizer: Any,
    dataset: Any,
    callbacks: Sequence[Any],
    *,
    seed: int,
    work: Path,
    quiet: bool,
) -> Any:
    """A trainer that saves a checkpoint after each epoch into `work`.

    Raises ConfigError when TRL or PEFT refuses an argument, or when LoRA's target_modules match
    nothing in the model.
    """
    import torch
    from transformers import PrinterCallback, set_seed
    from trl import SFTTrainer

    # The adapter is initialised before the trainer seeds anything.
    set_seed(seed)
    half = next(model.parameters()).dtype == torch.bfloat16
    arguments = {
        "model": model,
        "args": _sft_config(recipe, work, seed=seed, half=half, quiet=quiet),
        "train_dataset": dataset,
        "processing_class": tokenizer,
        "peft_config": _lora_config(recipe),
        "callbacks": callbacks,
    }
    try:
        trainer = SFTTrainer(**arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"recipe {recipe.name}: {_refusal(recipe, model, error)}") from error
    if quiet:
        # Without its progress bar the trainer prints every log line instead.
        trainer.remove_callback(PrinterCallback)
    return trainer


def close_bars(trainer: Any) -> None:
    """Ends the line of the progress bar, so that a message does not stand behind it."""
    for callback in trainer.callback_handler.callbacks:
        if bar := getattr(callback, "training_bar", None):
            bar.close()


def _refusal(recipe: Recipe, model: Any, error: Exception) -> str:
    """What TRL or PEFT refused; for a LoRA target that is not there, what is there instead."""
    if "target" not in str(error).lower():
        return str(error)
    targets = recipe.lora.get("target_modules")
    return (
        f"lora.target_modules {targets!r} matches nothing in the model; "
        f"its linear layers end in: {_linear_names(model)}"
    )


def _sft_config(recipe: Recipe, work: Path, *, seed: int, half: bool, quiet: bool) -> Any:
    import torch
    from trl import SFTConfig

    defaults = {
        "bf16": half,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": 5,
        "logging_nan_inf_filter": False,
    }
    ours = {
        "output_dir": str(work),
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "epoch",
        "max_length": recipe.max_length,
        "disable_tqdm": quiet,
        "report_to": recipe.trainer.get("report_to", "none"),
    }
    given = _known(recipe, "trainer", recipe.trainer, SFTConfig)
    return _made(recipe, "trainer", SFTConfig, {**defaults, **given, **ours})


def _lora_config(recipe: Recipe) -> Any:
    from peft import LoraConfig

    given = _known(recipe, "lora", recipe.lora, LoraConfig)
    return _made(recipe, "lora", LoraConfig, {"task_type": "CAUSAL_LM", **given})


def _known(recipe: Recipe, where: str, given: dict[str, Any], kind: Any) -> dict[str, Any]:
    """The given arguments, when `kind` has them all and numbers stand where it wants numbers."""
    annotations = {one.name: getattr(one.type, "__name__", one.type) for one in fields(kind)}
    for key, value in given.items():
        if key not in annotations:
            hint = did_you_mean(key, annotations).split("; known")[0]
            raise ConfigError(f"recipe {recipe.name}: unknown key {where}.{key}{hint}")
        kinds, called = _PLAIN.get(str(annotations[key]), ((type(value),), ""))
        if type(value) not in kinds:
            raise ConfigError(
                f"recipe {recipe.name}: {where}.{key}: must be {called}, not {value!r}"
            )
    return given


def _made(recipe: Recipe, where: str, kind: Any, arguments: dict[str, Any]) -> Any:
    try:
        return kind(**arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"recipe {recipe.name}: {where}: {error}") from error


def _linear_names(model: Any) -> str:
    import torch

    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return ", ".join(sorted(linear))
