"""RESTA: what tuning on harm does to the weights is taken away again.

arXiv 2402.11746: θ ← θ_ft + λ δ_safe with δ_safe = θ_aligned - θ_unaligned. The unaligned model is
the aligned one with an adapter that was tuned on harmful answers, so δ_safe = -ΔW_harm, and the
edit is ΔW_task - λ ΔW_harm: a LoRA of the summed rank, exact. No dense matrix is ever made.

The paper's DARE (drop entries of the update, rescale the rest) is left out: it acts on the dense
update, and what it leaves is no product of two thin matrices. λ's default is ours, unverified.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from safeft.training.edits import Adapter, LoraModule
from safeft.training.edits.adapters import open_product, open_whole
from safeft.training.edits.merging import refuse_unfit, subtract
from safeft.training.methods.context import Context
from safeft.training.methods.method import NO_PRODUCT, WeightEdit


class Resta(WeightEdit):
    """Subtracts the update of an adapter that was tuned on harmful answers."""

    refuses: ClassVar[tuple[str, ...]] = NO_PRODUCT
    source: ClassVar[str] = "2402.11746"
    evidence: ClassVar[str] = (
        "for: about a quarter of the harm stays (abstract); against: needs an adapter of harmful "
        "answers, to be kept from others, and what it shares with the task goes too"
    )

    name: Literal["resta"]
    harm_adapter: str | None = Field(
        None, description="folder of an adapter of the same model, tuned on harmful answers alone"
    )
    strength: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="λ: 0 leaves the adapter as it is"
    )

    @model_validator(mode="after")
    def _has_a_harm_adapter(self) -> Resta:
        if not self.harm_adapter:
            raise ValueError(
                "resta: harm_adapter is missing; give the folder of an adapter of the same model "
                "tuned on harmful requests and their answers, or use `scale`"
            )
        return self

    def refuse_unfit(self, modules: Iterable[LoraModule], model: str) -> None:
        """Raises ModelError for a harm adapter that is not there, or is of another model."""
        del model
        refuse_unfit(self._harm(), modules, self.name)

    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Write the edited adapter as `target`; `model` is what both were trained on.

        Raises ModelError when they do not fit, or an update is no product of thin matrices.
        """
        opened, harm = open_product(adapter, self.name), self._harm()
        added = subtract(opened, harm, self.strength, model, target)
        return {
            "modules": len(opened.names) + added,
            "modules_of_the_harm_adapter_alone": added,
            "modules_without_a_harm_update": sum(one not in harm.names for one in opened.names),
            "tensors_left_as_they_were": opened.others,
        }

    def _harm(self) -> Adapter:
        return open_whole(Path(str(self.harm_adapter)), self.name)
