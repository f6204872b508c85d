"""TRL's SFTTrainer, built from a recipe; its errors become messages that name the YAML key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from safeft.errors import ConfigError, did_you_mean
from safeft.training.schema import Recipe


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
    from transformers import PrinterCallback, set_seed
    from trl import SFTTrainer

    # The adapter is initialised before the trainer seeds anything.
    set_seed(seed)
    arguments = _sft_config(recipe, model, seed, work, quiet)
    try:
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=_lora_config(recipe),
            callbacks=callbacks,
        )
    except ValueError as error:
        if "target" in str(error).lower():
            raise ConfigError(
                f"recipe {recipe.name}: lora.target_modules {recipe.lora.get('target_modules')!r} "
                f"matches nothing in the model; its linear layers end in: {_linear_names(model)}"
            ) from error
        raise ConfigError(f"recipe {recipe.name}: {error}") from error
    if quiet:
        # Without its progress bar the trainer prints every log line instead.
        trainer.remove_callback(PrinterCallback)
    return trainer


def _sft_config(recipe: Recipe, model: Any, seed: int, work: Path, quiet: bool) -> Any:
    import torch
    from trl import SFTConfig

    half = next(model.parameters()).dtype == torch.bfloat16
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
    given = _known(recipe, "trainer", recipe.trainer, [one.name for one in fields(SFTConfig)])
    return _made(recipe, "trainer", SFTConfig, {**defaults, **given, **ours})


def _lora_config(recipe: Recipe) -> Any:
    from peft import LoraConfig

    given = _known(recipe, "lora", recipe.lora, [one.name for one in fields(LoraConfig)])
    return _made(recipe, "lora", LoraConfig, {"task_type": "CAUSAL_LM", **given})


def _known(recipe: Recipe, where: str, given: dict[str, Any], names: list[str]) -> dict[str, Any]:
    for key in given:
        if key not in names:
            hint = did_you_mean(key, names).split("; known")[0]
            raise ConfigError(f"recipe {recipe.name}: unknown key {where}.{key}{hint}")
    return given


def _made(recipe: Recipe, where: str, kind: Any, arguments: dict[str, Any]) -> Any:
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"recipe {recipe.name}: {where}: {error}") from error


def _linear_names(model: Any) -> str:
    import torch

    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return ", ".join(sorted(linear))
