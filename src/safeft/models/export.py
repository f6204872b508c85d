"""An adapter leaves safeft: merged into its model, or copied for servers that load adapters."""

from __future__ import annotations

import shutil
from pathlib import Path

from safeft.errors import ModelError, RunError
from safeft.models.load import load_model, load_tokenizer


def export(model: str, adapter: Path, output: Path, *, merge: bool, precision: str | None) -> None:
    """Write a servable folder: merged safetensors with the tokenizer, or the adapter as it is.

    Raises RunError when `output` is not empty, ModelError when the adapter does not fit.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise RunError(f"{output} is not an empty folder; choose another --output")
    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(f"adapter {adapter}: no adapter_config.json in this folder")
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if merge:
        merged = load_model(model, adapters=[adapter], precision=precision)
        merged.save_pretrained(partial)
        load_tokenizer(model).save_pretrained(partial)
    else:
        shutil.copytree(adapter, partial)
    if output.is_dir():
        output.rmdir()
    partial.rename(output)
