"""AsFT: the update is held inside the subspace of what alignment changed.

Yang et al. (arXiv 2506.08473; not ASFT, arXiv 2509.23753, which anchors the task's tokens):

    L = CE + λ Σ_m ‖(I − C_m) ΔW_m‖_F²,   C = V Vᵀ / ‖V‖_F,   V = W_aligned − W_base,

over the adapted modules m. Here ΔW = s B A is what the model adds, with LoRA's scale s (α/r, or
α/√r where rank-stabilised); the authors' code leaves s out, which is the same where α = r. Neither
C nor ΔW is made: with B' = B − V (VᵀB) / ‖V‖_F the norm is s² tr(B'ᵀB' · AAᵀ), of r × r matrices.

C is no projection: it mostly shrinks B to a few per cent, so that the term is near λ ‖ΔW‖²; see
safe_lora. A module that alignment left as it was has no subspace and is left free, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.errors import ConfigError, ModelError
from safeft.training.edits import LoraModule, Pair
from safeft.training.edits.layers import layers
from safeft.training.methods.method import LossMethod
from safeft.training.methods.paired import Paired
from safeft.training.methods.terms import Setup, Step, Term


class AsftSubspace(Paired, LossMethod):
    """Add λ Σ ‖(I − C) ΔW‖² to the loss."""

    cost: ClassVar[str] = "two thin products a layer, and the adapted weights once more in memory"
    source: ClassVar[str] = "2506.08473"
    evidence: ClassVar[str] = (
        "for: less harm and more accuracy than Safe LoRA (authors); against: near plain weight "
        "decay of the update, and safety's subspace is not linearly distinct (2505.14185)"
    )

    name: Literal["asft_subspace"]
    weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="λ")

    @property
    def needs_adapter(self) -> str:
        """Its penalty is over the product of LoRA's matrices."""
        return "weighs the product of an adapter's matrices"

    def term(self, setup: Setup) -> Term:
        """The penalty. Raises ModelError when the pair does not fit the adapted modules."""
        return _Subspace(self, setup)


class _Subspace(Term):
    def __init__(self, method: AsftSubspace, setup: Setup) -> None:
        self._weight = method.weight
        pair = Pair.of(*_names(method, setup))
        changed = [(one, pair.change(one)) for one in layers(setup.model, method.name)]
        self._held = [_held(one, change, setup) for one, change in changed if change.any()]
        if not self._held:
            raise ModelError(
                f"{method.name}: base {pair.base.name!r} and aligned {pair.aligned.name!r} have "
                "the same weights wherever the adapter changes them; name the model before its "
                "alignment as base"
            )

    def __call__(self, step: Step, loss: Any) -> Any:
        return loss + step.once(self._weight * sum(one.outside() for one in self._held))


def _names(method: AsftSubspace, setup: Setup) -> tuple[str, str]:
    aligned = method.aligned or setup.name
    if not (method.base and aligned):
        raise ConfigError(f"{method.name}: base or aligned is missing; name both models")
    return method.base, aligned


@dataclass(frozen=True, slots=True)
class _Held:
    """A module in training and V / √‖V‖_F, so that C is its product with its own transpose."""

    module: LoraModule
    root: Any

    def outside(self) -> Any:
        """‖(I − C) s B A‖_F²: a scalar with a gradient."""
        a, b = self.module.a.float(), self.module.b.float()
        thin = self.root.T @ b.to(self.root.dtype)
        left = b - (self.root @ thin).float()
        return self.module.scale**2 * ((left.T @ left) * (a @ a.T)).sum()


def _held(module: LoraModule, change: Any, setup: Setup) -> _Held:
    """V is a difference of the files' own weights in float32, kept in the model's precision."""
    root = change / change.norm().sqrt()
    return _Held(module, root.to(module.b.device, setup.model.dtype).contiguous())
