"""What Safe LoRA and SafeMERGE share: the base-aligned pair, and which modules it picks out."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from safeft.training.edits import Adapter, Pair, open_adapter
from safeft.training.edits.adapters import refuse_unlike_lora, refuse_unlike_matrices
from safeft.training.edits.subspace import Measured, Projector, least_similar, measure
from safeft.training.schema import Strict

logger = logging.getLogger("safeft")


class PairEdit(Strict):
    """An edit of the modules whose update agrees least with what alignment changed."""

    name: str
    base: str | None = Field(None, description="the model before its alignment: a name or folder")
    aligned: str | None = Field(None, description="the aligned model; null = the tuned one")
    select: Literal["number", "threshold"] = "number"
    number: int = Field(10, gt=0, description="select: number edits so many, the least similar")
    threshold: float = Field(
        0.5, ge=-1, le=1, description="select: threshold edits all of this cosine or below"
    )
    projector: Projector = Field(
        "filter", description="filter: VVᵀ/‖V‖ as published; rank_k: UUᵀ of its first directions"
    )
    rank: int = Field(64, gt=0, description="projector: rank_k keeps so many directions")

    @model_validator(mode="after")
    def _has_a_pair(self) -> PairEdit:
        if self.base is None:
            raise ValueError(
                f"{self.name}: base is missing, and only the difference of the base and the "
                "aligned model shows what alignment changed; give base: ORG/NAME, or use `scale`"
            )
        return self

    def opened(self, adapter: Path) -> Adapter:
        """The adapter, once it is known to be of thin matrices. Raises ModelError."""
        found = open_adapter(adapter)
        refuse_unlike_lora(found, self.name)
        refuse_unlike_matrices(found, self.name)
        return found

    def chosen(self, adapter: Adapter, model: str) -> tuple[list[Measured], set[str]]:
        """Every module's measure, and the names of those to edit."""
        pair = Pair.of(str(self.base), self.aligned or model)
        found = measure(adapter, pair, self.projector, self.rank)
        number = self.number if self.select == "number" else None
        names = least_similar(found, number, self.threshold)
        for one in sorted(found, key=lambda one: one.name):
            logger.info(
                "%s: %s: cosine %.4f, ‖CB‖/‖B‖ %.4f%s",
                self.name,
                one.name,
                one.cosine,
                one.kept_norm,
                ", edited" if one.name in names else "",
            )
        return found, names


def notes(adapter: Adapter, found: Sequence[Measured], names: Collection[str]) -> dict[str, Any]:
    """What was edited: counts, cosines, and how much of B the projector leaves on average."""
    edited = [one for one in found if one.name in names]
    return {
        "modules": len(found),
        "edited": len(edited),
        "cosines_of_edited": [round(end(one.cosine for one in edited), 4) for end in (min, max)]
        if edited
        else [],
        "kept_norm": round(statistics.fmean(one.kept_norm for one in edited), 4)
        if edited
        else None,
        "tensors_left_as_they_were": adapter.others,
    }
