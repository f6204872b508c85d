"""Re-alignment after tuning: a few steps of safety fine-tuning, going on from the tuned adapter.

The rows are those of safety mixing, harmful prompts refused and look-alikes answered, without any
of the task. The model before tuning writes the answers, so that nothing else is learnt from them.
"""

from __future__ import annotations

import random
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.data import Example
from safeft.models import load_model, load_tokenizer
from safeft.training.edits.tuning import check_tuning, tune
from safeft.training.identity import model_identity
from safeft.training.methods.context import Context
from safeft.training.methods.method import WeightEdit
from safeft.training.methods.safety_rows import SafetyRows


class Realign(SafetyRows, WeightEdit):
    """Tunes the finished adapter on safety rows for a few steps."""

    cost: ClassVar[str] = "a short training, one generation pass"
    source: ClassVar[str] = "2309.07875"
    evidence: ClassVar[str] = (
        "for: common practice; against: the task is forgotten with every step, so few steps"
    )

    trains: ClassVar[bool] = True

    name: Literal["realign"]
    rows: int = Field(64, gt=0, description="harmful rows, refused")
    max_length: int = Field(512, gt=1, description="tokens; longer rows are cut")
    trainer: dict[str, Any] = Field(
        default_factory=lambda: {"learning_rate": 5e-4, "per_device_train_batch_size": 8},
        description="arguments of trl.SFTConfig; one epoch unless it says num_train_epochs",
    )

    def ahead(self, context: Context) -> None:
        """Check TRL's arguments, and have the model write its answers, before training."""
        check_tuning(self.trainer, self.max_length)
        self.drawn(self.rows, context)

    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Write the re-aligned adapter as `target`.

        Raises DataError when the model refuses too few of the pool's prompts to write the rows,
        ConfigError for an argument that TRL does not know, ModelError when the adapter does not
        fit the model.
        """
        check_tuning(self.trainer, self.max_length)
        with tempfile.TemporaryDirectory() as store:
            context = context or lone_context(model, Path(store))
            harmful, benign = self.drawn(self.rows, context)
        mixed: list[Example] = [*harmful, *benign]
        random.Random(self.seed).shuffle(mixed)
        weights = context.weights or partial(load_model, model)
        tokenizer = (context.tokenizer or partial(load_tokenizer, model))()
        how = {"max_length": self.max_length, "seed": self.seed}
        steps = tune(adapter, target, weights, tokenizer, mixed, self.trainer, **how)
        return {"harmful": len(harmful), "lookalikes": len(benign), "steps": steps}


def lone_context(model: str, store: Path, trust_remote_code: bool = False) -> Context:
    """What writes answers, and is trained on, where no training is under way that could."""
    from safeft.generation.transformers import TransformersGenerator

    weights = partial(load_model, model, trust_remote_code=trust_remote_code)
    tokenizer = cache(partial(load_tokenizer, model, trust_remote_code=trust_remote_code))
    return Context(
        model_identity(model),
        cache(lambda: TransformersGenerator(weights(), tokenizer(), model)),
        store,
        tokenizer=tokenizer,
        weights=weights,
    )
