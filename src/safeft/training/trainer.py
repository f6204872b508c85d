"""TRL's SFTTrainer, built from a recipe; its errors become messages that name the YAML key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safeft.training.arguments import lora_config, sft_config
from safeft.training.schema import Recipe
from safeft.training.targets import fitted


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
        "args": sft_config(recipe, work, seed=seed, half=half, quiet=quiet),
        "train_dataset": dataset,
        "processing_class": tokenizer,
        "peft_config": lora_config(recipe),
        "callbacks": callbacks,
    }
    trainer = fitted(recipe, model, lambda: SFTTrainer(**arguments))
    if quiet:
        # Without its progress bar the trainer prints every log line instead.
        trainer.remove_callback(PrinterCallback)
    return trainer


def close_bars(trainer: Any) -> None:
    """Ends the line of the progress bar, so that a message does not stand behind it."""
    for callback in trainer.callback_handler.callbacks:
        if bar := getattr(callback, "training_bar", None):
            bar.close()
