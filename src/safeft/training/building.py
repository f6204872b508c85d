"""Recipe → rows: a recipe's data methods without training, for whoever trains elsewhere."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safeft.data import Example
from safeft.data.chats import written
from safeft.data.formats import fingerprint as data_fingerprint
from safeft.errors import ConfigError, RunError
from safeft.runs import (
    disk_watched,
    fingerprint,
    locked,
    open_run,
    read_json,
    write_json,
    write_text,
)
from safeft.training.methods import Context, DataMethod, Guards
from safeft.training.schema import Recipe
from safeft.training.writers import Writer

# What a method that is no data method would need, of a model that is trained elsewhere.
_NEEDS = {
    "model": "prepares the model's layers",
    "loss": "changes the loss",
    "optimizer": "changes the optimizer's steps",
    "weights": "edits the trained weights",
    "inference": "acts where the model is served (a system prompt: safeft eval --system-prompt)",
}


@dataclass(frozen=True, slots=True)
class Built:
    """A recipe's rows, its methods' notes, and what their texts cost (seconds and tokens)."""

    examples: tuple[Example, ...]
    notes: dict[str, Any]
    spent: dict[str, float]


def build(
    recipe: Recipe,
    examples: Sequence[Example],
    writer: Writer,
    store: Path,
    guards: Guards | None = None,
) -> Built:
    """The examples after every data method; what the model writes is kept in `store`.

    `guards` loads the judge of a method that asks a guard. Raises DataError as the methods do, and
    ConfigError for a recipe with other methods.
    """
    context = Context(
        writer.identity, writer.generator, store, tokenizer=writer.tokenizer, guards=guards
    )
    notes: dict[str, Any] = {}
    for method in _data_methods(recipe):
        applied = method.apply(examples, context)
        examples, notes[method.name] = applied.examples, applied.notes
    return Built(tuple(examples), notes, context.spent)


def refuse_weights(recipe: Recipe) -> None:
    """Raises ConfigError naming the methods that rows cannot carry, each with the reason."""
    _data_methods(recipe)


def _data_methods(recipe: Recipe) -> list[DataMethod]:
    methods = [one for one in recipe.methods if isinstance(one, DataMethod)]
    others = [one for one in recipe.methods if not isinstance(one, DataMethod)]
    reasons = [f"{one.name} {_NEEDS[one.slot]}" for one in others]
    if reasons:
        raise ConfigError(
            f"recipe {recipe.name}: {', '.join(reasons)}: rows alone cannot carry that to a model "
            "that is trained elsewhere; remove it, or choose a recipe of data methods only "
            "(safeft ls recipes)"
        )
    return methods


def build_file(
    recipe: Recipe,
    examples: Sequence[Example],
    writer: Writer,
    format: str,
    output: Path,
    guards: Guards | None = None,
) -> dict[str, Any]:
    """Write the recipe's rows in a format of `data.chats.WRITTEN`; the facts, also beside it.

    The facts lie in `NAME.manifest.json`, and what the model writes meanwhile in `NAME.jsonl.work`,
    so that a killed command goes on. A finished file is returned as it is. Raises RunError when
    `output` holds something else, ConfigError and DataError as `build` and `written` do.
    """
    refuse_weights(recipe)
    config = _config(recipe, examples, writer, format)
    work, manifest = output.with_name(f"{output.name}.work"), output.with_suffix(".manifest.json")
    if manifest.is_file():
        return _finished(output, manifest, config)
    if output.exists() and not work.is_dir():
        raise RunError(f"{output} is there, and is not of this command; choose another --output")
    with locked(work), disk_watched(work):
        open_run(work, config)
        built = build(recipe, examples, writer, work, guards)
        text = written(built.examples, format)
        facts = {
            **read_json(work / "manifest.json"),
            "rows": len(built.examples),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "methods": built.notes,
            "cost": built.spent,
        }
        write_text(output, text)
        write_json(manifest, facts)
    shutil.rmtree(work)
    return facts


def _config(
    recipe: Recipe, examples: Sequence[Example], writer: Writer, format: str
) -> dict[str, Any]:
    """What the file depends on."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "model": writer.identity,
        "data_fingerprint": data_fingerprint(examples),
        "format": format,
    }


def _finished(output: Path, manifest: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What was written before, when it is the same."""
    facts: dict[str, Any] = read_json(manifest)
    if fingerprint(facts.get("config")) != fingerprint(config):
        raise RunError(
            f"{manifest} is of another recipe, model, format or other rows; choose another "
            "--output, or delete it and the rows"
        )
    if not output.is_file() or _digest(output) != facts["sha256"]:
        raise RunError(
            f"{output} is missing or was changed since it was written; delete {manifest} and "
            "run the same command again"
        )
    return facts


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
