"""What a recipe YAML may say. TRL's and PEFT's arguments pass through by their own names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from safeft.models.quantized import Quantization
from safeft.training.legality import refuse_illegal, refuse_unloadable
from safeft.training.methods.catalogue import AnyMethod
from safeft.training.strict import Strict

__all__ = ["Recipe", "Strict"]

# An adapter is kept after each epoch, and a killed run resumes from them to the same weights.
_OWNED = {
    "output_dir": "use --output",
    "seed": "use --seed",
    "max_length": "write max_length beside `trainer`",
    "max_steps": "give num_train_epochs, and fewer rows with --rows",
    "save_strategy": "an adapter is kept after each epoch",
    "save_total_limit": "an adapter is kept after each epoch",
    "save_only_model": "a killed run needs the optimizer to resume",
    "resume_from_checkpoint": "run the same command again to resume",
}


class Recipe(Strict):
    """One way to fine-tune: slots filled in order, and the arguments of TRL and PEFT."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    summary: str = ""
    methods: list[AnyMethod] = Field(default_factory=list, description="applied in this order")
    lora: dict[str, Any] | None = Field(
        description="arguments of peft.LoraConfig; null trains all weights"
    )
    trainer: dict[str, Any] = Field(default_factory=dict, description="arguments of trl.SFTConfig")
    max_length: int = Field(1024, gt=1, description="tokens; longer rows are cut and counted")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on an accelerator, float32 on a CPU"
    )
    quantization: Quantization | None = Field(
        None,
        description="bits of the frozen weights (bitsandbytes): int8, nf4 or fp4; null = all bits",
        exclude_if=lambda value: value is None,  # runs from before there was a choice
    )

    @model_validator(mode="before")
    @classmethod
    def _methods_can_be_loaded(cls, data: Any) -> Any:
        if isinstance(data, dict):
            refuse_unloadable(data.get("methods"))
        return data

    @model_validator(mode="after")
    def _methods_go_together(self) -> Recipe:
        refuse_illegal(self.methods, self.lora, self.trainer, self.quantization)
        return self

    @model_validator(mode="after")
    def _owned_by_safeft(self) -> Recipe:
        for key, instead in _OWNED.items():
            if key in self.trainer:
                raise ValueError(f"trainer.{key}: safeft sets it itself; {instead}")
        epochs = self.trainer.get("num_train_epochs", 1)
        if type(epochs) not in (int, float) or epochs < 1 or epochs % 1:
            raise ValueError(f"trainer.num_train_epochs: must be 1, 2, 3, …, not {epochs!r}")
        return self

    @property
    def epochs(self) -> int:
        """How many epochs are trained, and so how many adapters are kept."""
        return int(self.trainer.get("num_train_epochs", 3))
