"""Adapter scaling: W = W₀ + γ ΔW, the free baseline of every edit (WiSE-FT, arXiv 2109.01903).

Exact for every update that is linear in one of its factors: that factor is multiplied by γ.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.errors import ModelError
from safeft.training.edits import Adapter, open_adapter
from safeft.training.edits.adapters import refuse_unlike_lora
from safeft.training.methods.context import Context
from safeft.training.methods.method import WeightEdit

# The one factor of each update: B A, (w1a w1b) ∘ (w2a w2b), and w1 ⊗ w2.
_FACTORS = {
    "LORA": re.compile(r"\.lora_(embedding_)?B(\.(weight|bias))?$"),
    "LOHA": re.compile(r"\.hada_w1_a$"),
    "LOKR": re.compile(r"\.lokr_w1(_a)?$"),
}


class Scale(WeightEdit):
    """Takes a share of the whole update."""

    source: ClassVar[str] = "2109.01903"
    evidence: ClassVar[str] = (
        "for: the free baseline, what does not beat it is not worth its cost; "
        "against: the task is scaled down as well"
    )

    refuses: ClassVar[tuple[str, ...]] = ("use_dora", "init_lora_weights")

    name: Literal["scale"]
    factor: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="γ: 1 is the adapter, 0 the model without it"
    )

    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Write the scaled adapter as `target`. Raises ModelError for one that does not scale."""
        opened = open_adapter(adapter)
        keys = _scaled(opened)
        opened.write(target, {key: opened.tensor(key).float() * self.factor for key in keys})
        return {"scaled_tensors": len(keys), "tensors_left_as_they_were": opened.others}


def _scaled(adapter: Adapter) -> list[str]:
    kind = adapter.config.get("peft_type", "")
    if kind not in _FACTORS:
        raise ModelError(
            f"scale: adapter {adapter.folder}: is {kind or 'of no known kind'}, whose update is "
            f"not linear in one factor; known: {', '.join(_FACTORS)}"
        )
    if kind == "LORA":
        refuse_unlike_lora(adapter, "scale")
    return [key for key in adapter.keys if _FACTORS[kind].search(key)]
