"""What Safe LoRA and SafeMERGE share: the base-aligned pair, and which modules it picks out."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.errors import ConfigError
from safeft.training.edits import Adapter, Pair
from safeft.training.edits.adapters import open_product
from safeft.training.edits.subspace import Measured, Projector, least_similar, measure
from safeft.training.methods.method import NO_PAIR, WeightEdit
from safeft.training.methods.paired import Paired

logger = logging.getLogger("safeft")


class PairEdit(Paired, WeightEdit):
    """An edit of the modules whose update agrees least with what alignment changed."""

    refuses: ClassVar[tuple[str, ...]] = NO_PAIR

    select: Literal["number", "threshold"] = "number"
    number: int = Field(10, gt=0, description="select: number edits so many, the least similar")
    threshold: float = Field(
        0.5, ge=-1, le=1, description="select: threshold edits all of this cosine or below"
    )
    projector: Projector = Field(
        "filter", description="filter: VVᵀ/‖V‖ as published; rank_k: UUᵀ of its first directions"
    )
    rank: int = Field(64, gt=0, description="projector: rank_k keeps so many directions")

    def opened(self, adapter: Path) -> Adapter:
        """The adapter, once it is known to be of thin matrices. Raises ModelError."""
        return open_product(adapter, self.name, "layer_replication")

    def chosen(self, adapter: Adapter, model: str) -> tuple[list[Measured], set[str]]:
        """Every module's measure, and the names of those to edit.

        Raises ConfigError without a base, ModelError when the pair does not fit the adapter.
        """
        if self.base is None:
            raise ConfigError(
                f"{self.name}: base is missing, and only its difference from the aligned model "
                "shows what alignment changed; give base, or use `scale`"
            )
        pair = Pair.of(self.base, self.aligned or model)
        found = measure(adapter, pair, self.projector, self.rank)
        number = self.number if self.select == "number" else None
        names = least_similar(found, number, self.threshold)
        for one in found:
            said = self.name, one.name, one.cosine, one.kept_norm
            edited = ", edited" if one.name in names else ""
            logger.info("%s: %s: cosine %.4f, ‖CB‖/‖B‖ %.4f%s", *said, edited)
        return found, names


def notes(adapter: Adapter, found: Sequence[Measured], names: Collection[str]) -> dict[str, Any]:
    """What was edited: counts, cosines, and how much of B the projector leaves on average."""
    edited = [one for one in found if one.name in names]
    counts = {
        "modules": len(found),
        "edited": len(edited),
        "tensors_left_as_they_were": adapter.others,
    }
    if not edited:
        return counts
    cosines = [one.cosine for one in edited]
    return counts | {
        "cosines_of_edited": [round(min(cosines), 4), round(max(cosines), 4)],
        "kept_norm": round(statistics.fmean(one.kept_norm for one in edited), 4),
    }
