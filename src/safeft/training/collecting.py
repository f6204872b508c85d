"""Checkpoints → one adapter folder per epoch, edited, with its card and what serving must do.

In full fine-tuning a whole model lies where the adapter would.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safeft.models import INFERENCE, is_whole
from safeft.models.whole import copy_whole
from safeft.runs import read_json, write_json
from safeft.training.card import write_card
from safeft.training.kept import COLLECTED
from safeft.training.methods.context import Context
from safeft.training.methods.method import InferenceMethod, WeightEdit
from safeft.training.schema import Recipe
from safeft.training.targets import prepared

# What a whole model is asked with, where the trainer saved it beside the weights.
_TOKENIZER = (
    *("tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt"),
)


def checkpoints(work: Path) -> list[Path]:
    """The checkpoints that are whole, in order; the trainer writes its state file last."""
    found = [path for path in work.glob("checkpoint-*") if _whole(path / "trainer_state.json")]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _whole(state: Path) -> bool:
    """Whether a kill has not cut the file short."""
    try:
        return bool(json.loads(state.read_text()))
    except (OSError, ValueError):
        return False


def collect(
    output: Path,
    facts: dict[str, Any],
    model: str,
    recipe: Recipe,
    spent: dict[str, float],
    context: Context,
) -> None:
    """One adapter folder per epoch with a card. The cost comes last: it says that all is there."""
    partial = output / "adapter.partial"
    shutil.rmtree(partial, ignore_errors=True)
    cost = read_json(output / "cost.partial.json") | spent
    noted = prepared(recipe, context)
    for epoch, checkpoint in enumerate(checkpoints(output / "checkpoints"), 1):
        target = partial / f"epoch-{epoch}"
        _copy(checkpoint, target)
        for edit in recipe.methods:
            if isinstance(edit, WeightEdit):
                noted.setdefault(edit.name, {})[target.name] = _edited(edit, target, model, context)
        facts = {**facts, "methods": facts["methods"] | noted}
        _write_bundle(recipe, target)
        write_card(target, recipe, model, epoch, facts, cost)
    write_json(output / "train.json", facts)
    shutil.rmtree(output / "adapter", ignore_errors=True)
    partial.rename(output / "adapter")
    write_json(output / "cost.json", cost)
    (output / "cost.partial.json").unlink()


def _copy(checkpoint: Path, target: Path) -> None:
    """The adapter, or whole model: what a method has put in its place, when there is something."""
    put = checkpoint / COLLECTED
    source = put if put.is_dir() else checkpoint
    target.mkdir(parents=True)
    if is_whole(source):
        copy_whole(source, target)
        for pattern in _TOKENIZER:
            for path in checkpoint.glob(pattern):
                shutil.copy2(path, target / path.name)
        return
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy2(source / name, target / name)


def _edited(edit: WeightEdit, adapter: Path, model: str, context: Context) -> dict[str, Any]:
    """Put the edited adapter in the place of `adapter`; what the edit notes."""
    target = adapter.with_name(adapter.name + ".edited")
    target.mkdir()
    notes = edit.edit(adapter, target, model, context)
    shutil.rmtree(adapter)
    target.rename(adapter)
    return notes


def _write_bundle(recipe: Recipe, target: Path) -> None:
    """What every inference method asks of whoever serves the adapter, in one file."""
    bundle: dict[str, Any] = {}
    for method in recipe.methods:
        if isinstance(method, InferenceMethod):
            bundle |= method.bundle()
    if bundle:
        write_json(target / INFERENCE, bundle)
