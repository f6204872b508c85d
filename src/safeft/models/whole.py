"""Full fine-tunes: a folder with a whole model in an adapter's place."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from safeft.errors import ModelError

_WEIGHTS = "model*.safetensors"


def is_whole(folder: str | Path) -> bool:
    """Whether a folder holds a model with its weights, and no adapter."""
    path = Path(folder)
    return (
        (path / "config.json").is_file()
        and not (path / "adapter_config.json").is_file()
        and any(path.glob(_WEIGHTS))
    )


def copy_whole(folder: Path, target: Path) -> None:
    """The weights and what says how to run them, as they are."""
    for pattern in (_WEIGHTS, "model.safetensors.index.json", "*config.json", "*.py"):
        for path in sorted(folder.glob(pattern)):
            shutil.copy2(path, target / path.name)


def begun(
    name: str, adapters: Sequence[str | Path], *, trust_remote_code: bool = False
) -> tuple[str, Sequence[str | Path]]:
    """The model that a full fine-tune among the adapters puts in the place of `name`, and the rest.

    Without one it is `name` itself. Raises ModelError for a full fine-tune of another architecture
    or size, and for one that is not the first: it would undo those before it.
    """
    for place, adapter in enumerate(adapters):
        if not is_whole(adapter):
            continue
        if place:
            raise ModelError(
                f"adapter {adapter} is a full fine-tune and would undo {adapters[0]} before it; "
                "name it first, or alone"
            )
        check_fit(name, Path(adapter), trust_remote_code=trust_remote_code)
        return str(adapter), adapters[1:]
    return name, adapters


def check_fit(name: str, folder: Path, *, trust_remote_code: bool = False) -> None:
    """Raises ModelError unless a whole model has the architecture and the shapes of `name`."""
    mine, theirs = (_shapes(one, trust_remote_code) for one in (str(folder), name))
    if other := sorted(key for key in mine | theirs if mine.get(key) != theirs.get(key)):
        first = other[0]
        shown = f"{first} is {_told(mine.get(first))} here and {_told(theirs.get(first))} there"
        raise ModelError(
            f"adapter {folder} does not fit the model: it is a full fine-tune of another model "
            f"than {name!r} ({shown}; {len(other)} weights differ); give the model that it was "
            "trained on"
        )


def _shapes(name: str, trust_remote_code: bool) -> dict[str, tuple[int, ...]]:
    """The shape of each weight by its name; the architecture is one of them."""
    from safeft.models.load import load_skeleton

    skeleton = load_skeleton(name, trust_remote_code=trust_remote_code)
    return {key: tuple(value.shape) for key, value in skeleton.state_dict().items()}


def _told(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " × ".join(map(str, shape))
