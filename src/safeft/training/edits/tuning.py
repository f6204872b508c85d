"""Training that goes on from an adapter, by TRL's own trainer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from safeft.data import Example
from safeft.data.masks import encode
from safeft.data.sets import to_tokens
from safeft.errors import ConfigError, DataError, ModelError, first_line
from safeft.training.edits.adapters import WEIGHTS, open_adapter

if TYPE_CHECKING:
    from safeft.training.schema import Recipe


def check_tuning(trainer: dict[str, Any], max_length: int) -> None:
    """Raises ConfigError, naming the key, for an argument that TRL does not know or take."""
    from safeft.training.arguments import sft_config

    with tempfile.TemporaryDirectory() as work:
        sft_config(_recipe(trainer, max_length), Path(work), seed=0, half=False, quiet=True)


def tune(
    adapter: Path,
    target: Path,
    weights: Callable[[], Any],
    tokenizer: Any,
    examples: Sequence[Example],
    trainer: dict[str, Any],
    *,
    max_length: int,
    seed: int,
) -> int:
    """Train the adapter on the examples and write it as `target`; how many steps it took.

    `weights` loads the model that the adapter was trained on. The same seed gives the same weights.
    Raises DataError when no row has an answer within `max_length` tokens, ModelError when the
    adapter does not fit the model.
    """
    opened = open_adapter(adapter)
    encoded = [encode(one, tokenizer, max_length) for one in examples]
    usable = [one for one in encoded if any(one.loss_mask)]
    if not usable:
        raise DataError(f"realign: no answer begins within {max_length} tokens; raise max_length")
    work = target.with_name(f"{target.name}.training")
    shutil.rmtree(work, ignore_errors=True)
    try:
        recipe = _recipe(trainer, max_length)
        steps = _trained(adapter, weights(), tokenizer, usable, recipe, seed, work)
        opened.write(target, _tensors(work / "adapter"))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return steps


def _recipe(trainer: dict[str, Any], max_length: int) -> Recipe:
    from safeft.training.schema import Recipe

    arguments = {"num_train_epochs": 1, **trainer}
    try:
        return Recipe(name="realign", lora={}, trainer=arguments, max_length=max_length)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"realign: {said}") from error


def _trained(
    adapter: Path,
    weights: Any,
    tokenizer: Any,
    usable: Sequence[Any],
    recipe: Recipe,
    seed: int,
    work: Path,
) -> int:
    import torch
    from transformers import PrinterCallback, set_seed
    from trl import SFTTrainer

    from safeft.training.arguments import sft_config

    set_seed(seed)
    half = next(weights.parameters()).dtype == torch.bfloat16
    arguments = sft_config(recipe, work, seed=seed, half=half, quiet=True)
    tuned = _adapted(weights, adapter)
    trainer = SFTTrainer(
        tuned, arguments, train_dataset=to_tokens(usable), processing_class=tokenizer
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.model.save_pretrained(work / "adapter")
    return int(trainer.state.global_step)


def _adapted(weights: Any, adapter: Path) -> Any:
    """The model with the adapter beside it, ready to be trained on."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(weights, str(adapter), is_trainable=True)
    except Exception as error:  # of PEFT, PyTorch or safetensors
        raise ModelError(
            f"adapter {adapter} does not fit the model: {first_line(error)} (give the model it was "
            "trained on)"
        ) from error


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(folder / WEIGHTS)
    return found
