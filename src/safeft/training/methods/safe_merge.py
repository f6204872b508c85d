"""SafeMERGE: where an update departs from alignment, a safety adapter is merged in.

arXiv 2503.17239, section 3: modules with cos(C BA, BA) below τ = 0.35 (C as in Safe LoRA) become
0.8 of the task's update and 0.2 of a safety adapter's; the others stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from safeft.training.edits import Adapter, LoraModule
from safeft.training.edits.adapters import open_whole
from safeft.training.edits.merging import merge, refuse_unfit
from safeft.training.methods.context import Context
from safeft.training.methods.pair_edit import PairEdit, notes


class SafeMerge(PairEdit):
    """Merges a safety adapter into the modules whose update agrees least with alignment."""

    source: ClassVar[str] = "2503.17239"
    evidence: ClassVar[str] = (
        "for: a third of the harm at equal accuracy (authors); against: needs a safety adapter of "
        "the same model"
    )

    name: Literal["safe_merge"]
    select: Literal["number", "threshold"] = "threshold"
    threshold: float = Field(0.35, ge=-1, le=1, description="modules of this cosine or below")
    safety_adapter: str | None = Field(
        None, description="folder of an adapter of the same model, tuned on safety rows alone"
    )
    safety_weight: float = Field(
        0.2, ge=0, le=1, description="share of the safety adapter; the task's keeps the rest"
    )
    then: Literal["merge", "drop"] = Field(
        "merge", description="drop: the same modules lose their update, for comparison"
    )

    @model_validator(mode="after")
    def _has_a_safety_adapter(self) -> SafeMerge:
        if self.then == "merge" and self.safety_adapter is None:
            raise ValueError(
                "safe_merge: safety_adapter is missing; give the folder of an adapter tuned on "
                "safety rows (recipes/README.md says how), or use safe_lora"
            )
        return self

    def refuse_unfit(self, modules: Iterable[LoraModule], model: str) -> None:
        """Raises ConfigError or ModelError for a pair or a safety adapter that does not fit."""
        adapted = list(modules)
        super().refuse_unfit(adapted, model)
        if self.safety_adapter is not None:
            refuse_unfit(self._safety(), adapted, self.name)

    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Write the merged adapter as `target`; `model` is what both were trained on.

        Raises ModelError when pair or safety adapter do not fit, or an update is no product of
        thin matrices.
        """
        opened = self.opened(adapter)
        found, names = self.chosen(opened, model)
        if self.then == "drop":
            keys = {opened.factors[name][1] for name in names}
            opened.write(target, {key: opened.tensor(key) * 0 for key in keys})
            return notes(opened, found, names)
        safety = self._safety()
        merge(opened, safety, names, self.safety_weight, target)
        absent = sum(name not in safety.names for name in names)
        return notes(opened, found, names) | {"edited_without_a_safety_update": absent}

    def _safety(self) -> Adapter:
        return open_whole(Path(str(self.safety_adapter)), self.name, "layer_replication")
