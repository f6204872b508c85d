"""What methods keep beside the weights, in a checkpoint: saved before it counts as whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safeft.training.methods.terms import Keeper

KEPT = Path("kept")
# The epoch's adapter where it is not the one that training goes on from. It lies two folders deep:
# in one of a checkpoint's own folders, transformers would take it for a second adapter to load.
COLLECTED = KEPT / "adapter"


def save_kept(checkpoint: Path, keepers: Mapping[str, Keeper], model: Any) -> None:
    """Write what each keeper keeps, and the adapter that one of them puts in the place of ours."""
    from safetensors.torch import save_file

    (checkpoint / KEPT).mkdir(parents=True, exist_ok=True)
    for name, keeper in keepers.items():
        if state := keeper.state():
            save_file(_apart(state), _file(checkpoint, name))
        if weights := keeper.weights():
            model.save_pretrained(checkpoint / COLLECTED, state_dict=_with(model, weights))


def restore_kept(checkpoint: Path, keepers: Mapping[str, Keeper]) -> None:
    """Give each keeper what it had kept at this checkpoint."""
    from safetensors.torch import load_file

    for name, keeper in keepers.items():
        if _file(checkpoint, name).is_file():
            keeper.restore(load_file(_file(checkpoint, name)))


def _with(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """All weights, some replaced under every name that they have; tied ones have several."""
    state: dict[str, Any] = model.state_dict()
    replaced = {
        state[name].data_ptr(): value.to(state[name].dtype) for name, value in weights.items()
    }
    return {name: replaced.get(one.data_ptr(), one) for name, one in state.items()}


def _file(checkpoint: Path, name: str) -> Path:
    return checkpoint / KEPT / f"{name}.safetensors"


def _apart(state: Mapping[str, Any]) -> dict[str, Any]:
    """On the CPU and contiguous, as safetensors wants them."""
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}
