"""Frozen safety layers: the layers that tell harmful requests from others are not adapted.

SPPFT (arXiv 2408.17003): contiguous layers before the middle tell the two apart. Layer by layer,
with the last token's hidden states, the mean cosine of pairs of normal requests is compared with
that of pairs of a normal and a harmful one; the safety layers are where the gap between them grows.

Our reading, from a digest of the paper: of all blocks of a given size in the lower part of the
model, the one over which the gap grows most. The paper also moves the block's ends by how scaling
its layers changes over-refusal, which is not done here.
"""

from __future__ import annotations

import math
import os
import random
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from safeft.data.masks import Encoded
from safeft.errors import ConfigError, DataError
from safeft.generation.transformers import context_of, prompt_ids
from safeft.runs import fingerprint, read_json, write_json
from safeft.training.methods.blocks import Blocks
from safeft.training.methods.context import Context
from safeft.training.methods.method import ModelMethod
from safeft.training.methods.safety_rows import read_pool

LEAST = 2  # requests of each kind: a pair


class FreezeLayers(ModelMethod):
    """Leaves the safety layers out of what LoRA adapts."""

    freezes: ClassVar[bool] = True
    cost: ClassVar[str] = "one pass over some prompts"
    source: ClassVar[str] = "2408.17003"
    evidence: ClassVar[str] = (
        "for: no figures were at hand; against: fewer layers learn the task, and a frozen layer's "
        "inputs still change with the layers below it"
    )

    name: Literal["freeze_layers"]
    layers: Literal["find"] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = (
        Field("find", description="find: by the model's own hidden states; or their numbers from 0")
    )
    share: float = Field(
        0.25, gt=0, lt=1, description="find: size of the block, as a share of all layers"
    )
    until: float = Field(
        0.6, gt=0, le=1, description="find: the block ends within this share of the layers"
    )
    prompts: int = Field(64, ge=LEAST, description="find: requests of each kind, at most")
    pool: str = Field("safety_pool", description="JSONL of harmful prompts: shipped name or path")
    lookalike_pool: str = Field("safety_lookalikes", description="JSONL of normal prompts")
    seed: int = Field(0, description="which rows of the pools are drawn")

    def ahead(self, context: Context) -> None:
        """Raises DataError for a pool that is missing or broken, before the weights load."""
        if self.layers == "find":
            self._path(context)

    def adapted(
        self, lora: dict[str, Any], model: Any, context: Context | None = None
    ) -> dict[str, Any]:
        """The layers of the block are among PEFT's `exclude_modules`.

        Raises ConfigError when nothing would be left to adapt, or when what is trained beside the
        adapter reaches into the block; DataError for a pool that cannot be used.
        """
        blocks = Blocks.of(model)
        if blocks.count < 2:
            raise ConfigError(f"freeze_layers: this model has {blocks.count} layer; leave it out")
        if self.layers != "find":
            return blocks.without(self.layers, lora)
        if context is None:
            return lora
        if not (path := self._path(context)).is_file():
            # Several runs may share the store, and find the same at the same time.
            own = path.with_name(f"{path.stem}.{os.getpid()}.json")
            write_json(own, self._found(model, context, blocks.count))
            own.replace(path)
        return blocks.without(read_json(path)["layers"], lora)

    def noted(self, context: Context) -> dict[str, Any]:
        """The layers, and when they were found the gap after each layer."""
        if self.layers != "find":
            return {"layers": sorted(set(self.layers))}
        return dict(read_json(self._path(context)))

    def _path(self, context: Context) -> Path:
        """Where the finding lies; a run that resumes reads it from there."""
        pools = (self.pool, self.lookalike_pool)
        asked = [[row.prompt.asked for row in read_pool(one, self.name)] for one in pools]
        key = fingerprint([context.model, self.model_dump(mode="json"), asked])[:16]
        return context.store / f"layers-{key}.json"

    def _found(self, model: Any, context: Context, count: int) -> dict[str, Any]:
        normal = self._requests(self.lookalike_pool, model, context)
        harmful = self._requests(self.pool, model, context)
        gap = gaps(model, normal, harmful)
        return {
            "layers": block(gap, self.share, self.until),
            "of": count,
            "gap": [round(one, 6) for one in gap],
            "normal": len(normal),
            "harmful": len(harmful),
        }

    def _requests(self, pool: str, model: Any, context: Context) -> list[Encoded]:
        """Requests as the model reads them, of which the last token counts."""
        if context.tokenizer is None:
            raise ConfigError(
                "freeze_layers: layers: find needs the model's tokenizer; name the layers"
            )
        rows, most = read_pool(pool, self.name), context_of(model.config) or math.inf
        drawn = random.Random(self.seed).sample(rows, len(rows))
        found: list[Encoded] = []
        for row in drawn:
            ids = prompt_ids(context.tokenizer(), row.prompt, "the model")
            if len(ids) <= most and len(found) < self.prompts:
                found.append(Encoded(tuple(ids), (*[False] * (len(ids) - 1), True), False))
        if len(found) < LEAST:
            raise DataError(
                f"freeze_layers: {pool!r} has {len(found)} prompts that the model's context holds, "
                f"and at least {LEAST} are compared; give a larger pool, or name the layers"
            )
        return found


def gaps(model: Any, normal: list[Encoded], harmful: list[Encoded]) -> list[float]:
    """Before the first layer and after each: mean cosine of normal pairs minus that of mixed ones.

    Every pair counts, and no request is paired with itself.
    """
    import numpy as np

    from safeft.training.erosion.representation import states

    states_LND = states(model, [*normal, *harmful])
    states_LND /= np.maximum(np.linalg.norm(states_LND, axis=-1, keepdims=True), 1e-12)
    ours_LND, theirs_LND = np.split(states_LND, [len(normal)], axis=1)
    count, sum_LD = len(normal), ours_LND.sum(axis=1)
    alike_L = ((sum_LD**2).sum(axis=-1) - count) / (count * (count - 1))
    mixed_L = (sum_LD / count * theirs_LND.mean(axis=1)).sum(axis=-1)
    return [float(one) for one in alike_L - mixed_L]


def block(gap: list[float], share: float, until: float) -> list[int]:
    """The layers of the block over which the gap grows most, the lowest of equal ones.

    `gap` is before the first layer and after each. The block is never the whole model.
    """
    count = len(gap) - 1
    size = min(max(1, round(share * count)), count - 1)
    last = max(size, math.ceil(until * count))
    starts = range(last - size + 1)
    best = max(starts, key=lambda start: (gap[start + size] - gap[start], -start))
    return list(range(best, best + size))
