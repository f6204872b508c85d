"""Two LoRA updates as one: ranks are concatenated, so that nothing is approximated."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from safeft.errors import ModelError
from safeft.training.edits.adapters import Adapter, LoraModule

if TYPE_CHECKING:
    from torch import Tensor


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
    parts = {name: _parts(task, safety, name, name in names, weight) for name in task.names}
    rank = max(sum(one.a.shape[0] for _, one in part) for part in parts.values())
    scale = float(task.config.get("lora_alpha", 8)) / (
        math.sqrt(rank) if task.config.get("use_rslora") else rank
    )
    changed: dict[str, Tensor] = {}
    for name, part in parts.items():
        key_a, key_b = task.factors[name]
        changed[key_a], changed[key_b] = _stacked(part, rank, scale)
    # One rank and one alpha for all: exceptions by name are part of B now.
    task.write(target, changed, {"r": rank, "rank_pattern": {}, "alpha_pattern": {}})


def _parts(
    task: Adapter, safety: Adapter, name: str, merged: bool, weight: float
) -> list[tuple[float, LoraModule]]:
    own = task.module(name)
    if not merged:
        return [(1.0, own)]
    if name not in safety.names:
        return [(1 - weight, own)]
    other = safety.module(name)
    if (own.b.shape[0], own.a.shape[1]) != (other.b.shape[0], other.a.shape[1]):
        raise ModelError(
            f"safe_merge: {name} is {own.b.shape[0]} × {own.a.shape[1]} in {task.folder} and "
            f"{other.b.shape[0]} × {other.a.shape[1]} in {safety.folder}; give a safety adapter "
            "of the same model"
        )
    return [(1 - weight, own), (weight, other)]


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
