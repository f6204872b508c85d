"""Two LoRA updates as one: ranks are concatenated, so that nothing is approximated."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeft.errors import ModelError
from safeft.training.edits.adapters import PREFIX, Adapter, LoraModule
from safeft.training.edits.pairs import Weights

if TYPE_CHECKING:
    from torch import Tensor


def refuse_unfit(other: Adapter, modules: Iterable[LoraModule], edit: str) -> None:
    """Raises ModelError, naming the edit, for an adapter of another model than the modules'."""
    for one in modules:
        if one.name in other.names:
            _refuse_other_shape(edit, one, other.module(one.name), "the model", other)


def merge(
    task: Adapter, safety: Adapter, names: Collection[str], weight: float, target: Path
) -> None:
    """Write (1 - weight) ΔW_task + weight ΔW_safety for the named modules; the others stay.

    A module that the safety adapter leaves alone has a safety update of zero. All modules get one
    rank, the shorter ones filled with zeros, since some servers know no other (vLLM, llama.cpp).
    Raises ModelError when the two do not fit the same model.
    """
    if not names:
        task.write(target, {})
        return
    shares = {name: (1 - weight, weight) if name in names else (1.0, 0.0) for name in task.names}
    _write(task, safety, shares, target, "safe_merge")


def subtract(task: Adapter, harm: Adapter, strength: float, model: str, target: Path) -> int:
    """Write ΔW_task - strength ΔW_harm, and return how many modules the harm adapter adds.

    These are the ones that the task left alone: they are named in `target_modules` from now on.
    Raises ModelError when the two do not fit the same model.
    """
    added = [name for name in harm.names if name not in task.names]
    if added:
        _refuse_misplaced(task, harm, added, model)
    shares = dict.fromkeys((*task.names, *added), (1.0, -strength))
    _write(task, harm, shares, target, "resta")
    return len(added)


def _write(
    task: Adapter,
    other: Adapter,
    shares: Mapping[str, tuple[float, float]],
    target: Path,
    edit: str,
) -> None:
    """The shares of both updates by module as one adapter; one module's factors at a time."""
    ranks = {id(one): one.ranks() for one in (task, other)}
    rank = max(
        sum(ranks[id(one)][name] for _, one in _sharing(task, other, name, share))
        for name, share in shares.items()
    )
    scale = float(task.config.get("lora_alpha", 8)) / (
        math.sqrt(rank) if task.config.get("use_rslora") else rank
    )
    changed: dict[str, Tensor] = {}
    for name, share in shares.items():
        key_a, key_b = (task if name in task.names else other).factors[name]
        changed[key_a], changed[key_b] = _stacked(
            _parts(task, other, name, share, edit), rank, scale
        )
    # One rank and one alpha for all: exceptions by name are part of B now.
    settings: dict[str, Any] = {"r": rank, "rank_pattern": {}, "alpha_pattern": {}}
    if len(shares) > len(task.names):
        named = ("layers_to_transform", "layers_pattern", "exclude_modules")
        settings |= dict.fromkeys(named) | {"target_modules": sorted(shares)}
    task.write(target, changed, settings)


def _refuse_misplaced(task: Adapter, harm: Adapter, added: list[str], model: str) -> None:
    """Modules that only the harm adapter changes must be the model's, and nobody else's."""
    weights = Weights.of(model)
    factors = {key for pair in task.factors.values() for key in pair}
    kept = [key for key in task.keys if key not in factors]
    for name in added:
        weights.refuse_absent(name)
        if any(key.startswith(f"{PREFIX}{name}.") for key in kept):
            raise ModelError(
                f"resta: {name} is trained whole in {task.folder} (modules_to_save) and by LoRA in "
                f"{harm.folder}; train the harm adapter without it"
            )


def _parts(
    task: Adapter, other: Adapter, name: str, share: tuple[float, float], edit: str
) -> list[tuple[float, LoraModule]]:
    """Both updates of a module with their shares; what has none is left out."""
    found = [(weight, one.module(name)) for weight, one in _sharing(task, other, name, share)]
    if len(found) > 1:
        _refuse_other_shape(edit, found[0][1], found[1][1], str(task.folder), other)
    return found


def _refuse_other_shape(
    edit: str, one: LoraModule, two: LoraModule, place: str, other: Adapter
) -> None:
    rows, columns, others, more = *_shape(one), *_shape(two)
    if (rows, columns) != (others, more):
        raise ModelError(
            f"{edit}: {one.name} is {rows} × {columns} in {place} and {others} × {more} in "
            f"{other.folder}; give two adapters of the same model"
        )


def _shape(module: LoraModule) -> tuple[int, int]:
    return module.b.shape[0], module.a.shape[1]


def _sharing(
    task: Adapter, other: Adapter, name: str, share: tuple[float, float]
) -> list[tuple[float, Adapter]]:
    """The adapters that have a part in a module, with their shares."""
    both = zip(share, (task, other), strict=True)
    return [(weight, one) for weight, one in both if name in one.names and (weight or one is task)]


def _stacked(
    part: list[tuple[float, LoraModule]], rank: int, scale: float
) -> tuple[Tensor, Tensor]:
    """A and B of that rank whose scale · B A is the weighted sum."""
    import torch
    from torch.nn.functional import pad

    a = torch.cat([one.a for _, one in part])
    b = torch.cat([one.b * (share * one.scale / scale) for share, one in part], dim=1)
    missing = rank - a.shape[0]
    return pad(a, (0, 0, 0, missing)), pad(b, (0, missing))
