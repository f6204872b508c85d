"""Safe LoRA: the updates that agree least with alignment are projected onto what it changed.

arXiv 2405.16833, section 3: with V = W_aligned - W_base and C = V Vᵀ / ‖V‖_F, a module whose
cos(C BA, BA) is low gets B ← C B. As C mostly shrinks B to a few per cent, `then: drop` (the same
modules without any update) is the comparison that shows what the direction adds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.training.methods.context import Context
from safeft.training.methods.pair_edit import PairEdit, notes


class SafeLora(PairEdit):
    """Projects the modules whose update agrees least with what alignment changed."""

    source: ClassVar[str] = "2405.16833"
    evidence: ClassVar[str] = (
        "for: near-aligned safety after purely harmful tuning (authors); against: the projection "
        "mostly deletes the update, and safety's subspace is not linearly distinct (2505.14185)"
    )

    name: Literal["safe_lora"]
    then: Literal["project", "drop"] = Field(
        "project", description="drop: the same modules lose their update, for comparison"
    )

    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Write the edited adapter as `target`; `model` is what it was trained on.

        Raises ModelError when the pair does not fit, or the update is no product of thin matrices.
        """
        opened = self.opened(adapter)
        found, names = self.chosen(opened, model)
        changed = {
            opened.factors[one.name][1]: one.projected * (self.then == "project")
            for one in found
            if one.name in names
        }
        opened.write(target, changed)
        return notes(opened, found, names)
