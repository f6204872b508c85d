"""TRL's SFTTrainer, built from a recipe; its errors become messages that name the YAML key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safeft.training.arguments import lora_config, precision_of, sft_config
from safeft.training.kept import restore_kept
from safeft.training.methods import (
    Context,
    Corrector,
    Keeper,
    LossMethod,
    Method,
    OptimizerMethod,
    Setup,
)
from safeft.training.resuming import resuming_trainer
from safeft.training.schema import Recipe
from safeft.training.stepping import stepping_trainer
from safeft.training.targets import adapted, fitted


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
    setup: Callable[..., Setup] | None = None,
    context: Context | None = None,
) -> Any:
    """A trainer that saves a checkpoint after each epoch into `work`.

    `setup` is completed for methods that work during training, `context` told to those before it.
    Raises ConfigError when TRL or PEFT refuses an argument, or when LoRA's targets match nothing.
    """
    from transformers import PrinterCallback, set_seed

    recipe, half = adapted(recipe, model, context), _halves(recipe, model)
    set_seed(seed)  # the adapter is initialised before the trainer seeds anything
    arguments = {
        "model": model,
        "args": sft_config(recipe, work, seed=seed, half=half, quiet=quiet),
        "train_dataset": dataset,
        "processing_class": tokenizer,
        "peft_config": lora_config(recipe),
        "callbacks": callbacks,
    }
    working = [one for one in recipe.methods if isinstance(one, LossMethod | OptimizerMethod)]
    kind = _class(working, resuming=bool(recipe.quantization))
    trainer = fitted(recipe, model, lambda: kind(**arguments))
    if setup:
        _equip(trainer, working, setup)
    if quiet:
        # Without its progress bar the trainer prints every log line instead.
        trainer.remove_callback(PrinterCallback)
    return trainer


def _halves(recipe: Recipe, model: Any) -> bool:
    """Whether products are made in bfloat16; weights that are trained themselves are in float32."""
    import torch

    if recipe.lora is None:
        return precision_of(recipe) == "bfloat16"
    return bool(next(model.parameters()).dtype == torch.bfloat16)


def _class(working: Sequence[Method], *, resuming: bool) -> Any:
    from trl import SFTTrainer

    kind = stepping_trainer() if working else SFTTrainer
    return resuming_trainer(kind) if resuming else kind


def _equip(trainer: Any, working: Sequence[Method], complete: Callable[..., Setup]) -> None:
    """Give the trainer what works during training, by the method's name."""
    setup = complete(
        model=trainer.model,
        batch_size=trainer.args.per_device_train_batch_size,
        autocast=trainer.accelerator.autocast,
    )
    for method in working:
        if isinstance(method, LossMethod):
            trainer.terms[method.name] = trainer.keepers[method.name] = method.term(setup)
        elif isinstance(method, OptimizerMethod):
            callback = method.callback(setup)
            trainer.add_callback(callback)
            if isinstance(callback, Corrector):
                trainer.correctors[method.name] = callback
            if isinstance(callback, Keeper):
                trainer.keepers[method.name] = callback


def resume(trainer: Any, checkpoint: Path | None) -> None:
    """Train to the end, from a checkpoint when there is one."""
    if checkpoint and (keepers := getattr(trainer, "keepers", None)):
        restore_kept(checkpoint, keepers)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def close_bars(trainer: Any) -> None:
    """Ends the line of the progress bar, so that a message does not stand behind it."""
    for callback in trainer.callback_handler.callbacks:
        if bar := getattr(callback, "training_bar", None):
            bar.close()
