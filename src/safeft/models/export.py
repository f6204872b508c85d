"""An adapter leaves safeft: merged into its model, or copied for servers that load adapters."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safeft.errors import RunError
from safeft.models.load import check_tuned, load_model, load_tokenizer
from safeft.models.names import resolve
from safeft.models.whole import check_fit, copy_whole, is_whole
from safeft.runs import disk_watched


def export(
    model: str,
    adapter: Path,
    output: Path,
    *,
    merge: bool,
    precision: str | None,
    trust_remote_code: bool = False,
) -> None:
    """Write a servable folder: merged safetensors with the tokenizer, or the adapter as it is.

    A full fine-tune is merged already: without another `precision` its weights are copied.
    Raises RunError when `output` is not empty, ModelError when the adapter does not fit.
    """
    output = output.resolve()  # `.` has no name to write beside, and a link cannot be replaced
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise RunError(f"{output} is not an empty folder; choose another --output")
    check_tuned(adapter)
    resolve(model)
    with _whole(output) as partial:
        if merge:
            _merge(model, adapter, partial, precision, trust_remote_code)
        else:
            _copy(adapter, partial)


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `output` once all is written, and else goes."""
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with disk_watched(partial):
            yield partial
        partial.rename(output)  # also over an empty folder
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _merge(
    model: str, adapter: Path, folder: Path, precision: str | None, trust_remote_code: bool
) -> None:
    if is_whole(adapter) and precision is None:
        check_fit(model, adapter, trust_remote_code=trust_remote_code)
        copy_whole(adapter, folder)
    else:
        # On the CPU: merging takes seconds there, and not every model fits on the accelerator.
        merged = load_model(
            model,
            adapters=[adapter],
            precision=precision,
            device_map="cpu",
            trust_remote_code=trust_remote_code,
        )
        merged.save_pretrained(folder)
    # What the adapter asks to be said, the merged model's template says.
    tokenizer = load_tokenizer(model, adapters=[adapter], trust_remote_code=trust_remote_code)
    tokenizer.save_pretrained(folder)


def _copy(adapter: Path, folder: Path) -> None:
    # Not copytree: what it raises on a full disk does not say so.
    for path in adapter.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(adapter)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
