"""What an update keeps of itself inside the alignment's change, by thin matrices alone.

With V = W_aligned - W_base, Safe LoRA (arXiv 2405.16833, section 3) maps B to C B where
C = V Vᵀ / ‖V‖_F. Since C B = V (Vᵀ B) / ‖V‖_F and ‖B A‖² = tr(BᵀB AAᵀ), neither C nor B A is ever
made. C is no projection: it shrinks B by its spectrum, mostly to a few per cent. `rank_k` is one:
U_k U_kᵀ, with the k first left singular vectors of V.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safeft.errors import ModelError
from safeft.training.edits.adapters import Adapter, LoraModule
from safeft.training.edits.pairs import Pair

if TYPE_CHECKING:
    from torch import Tensor

Projector = Literal["filter", "rank_k"]
_OVERSAMPLING = 16  # columns beyond k, and power iterations: Halko et al. 2011, section 4
_ITERATIONS = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """A module's B inside the alignment's change: cosine of CBA and BA, and ‖CB‖ / ‖B‖.

    A cosine of NaN: nothing was trained, or alignment left this weight as it was.
    """

    name: str
    projected: Tensor
    cosine: float
    kept_norm: float


def measure(adapter: Adapter, pair: Pair, projector: Projector, rank: int) -> list[Measured]:
    """Every module of the adapter, one after the other.

    Raises ModelError when the pair does not fit the adapter, or does not differ anywhere.
    """
    found, differs = [], False
    for name in adapter.names:
        module = adapter.module(name)
        change = pair.change(module)
        differs = differs or bool(change.any())
        found.append(_measured(module, change, projector, rank))
    if not differs:
        raise ModelError(
            f"base {pair.base.name!r} and aligned {pair.aligned.name!r} have the same weights "
            "wherever the adapter changes them; name the model before its alignment as base"
        )
    return found


def _measured(module: LoraModule, change: Tensor, projector: Projector, rank: int) -> Measured:
    if not (change.any() and module.b.any()):
        return Measured(module.name, module.b, math.nan, math.nan)
    made = filtered(change, module.b) if projector == "filter" else kept(change, module.b, rank)
    shrunk = float(made.norm() / module.b.norm())
    return Measured(module.name, made, cosine(made, module.b, module.a), shrunk)


def filtered(change: Tensor, b: Tensor) -> Tensor:
    """C B with C = V Vᵀ / ‖V‖_F, for V (outputs, inputs) and B (outputs, rank)."""
    made: Tensor = change @ (change.T @ b) / change.norm()
    return made


def kept(change: Tensor, b: Tensor, rank: int) -> Tensor:
    """U_k U_kᵀ B, by randomised subspace iteration with a seed of its own."""
    import torch

    columns = min(rank + _OVERSAMPLING, *change.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        basis = torch.svd_lowrank(change, columns, niter=_ITERATIONS)[0][:, :rank]
    return basis @ (basis.T @ b)


def cosine(one: Tensor, other: Tensor, a: Tensor) -> float:
    """The cosine of one·A and other·A as vectors; NaN when one of them is zero."""
    one, other, a = one.double(), other.double(), a.double()
    gram = a @ a.T

    def inner(left: Tensor, right: Tensor) -> float:
        return float(((left.T @ right) * gram).sum())

    size = math.sqrt(max(inner(one, one), 0.0) * max(inner(other, other), 0.0))
    return inner(one, other) / size if size > 0 else math.nan


def least_similar(found: Sequence[Measured], number: int | None, threshold: float) -> set[str]:
    """The modules to edit: the `number` of lowest cosine, or all at or below the threshold.

    Of equal cosines the first by name; what has no cosine is never among them.
    """
    known = [one for one in found if not math.isnan(one.cosine)]
    if number is None:
        return {one.name for one in known if one.cosine <= threshold}
    return {one.name for one in sorted(known, key=lambda one: (one.cosine, one.name))[:number]}
