"""What a recipe YAML may say. TRL's and PEFT's arguments pass through by their own names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """Unknown keys and other types are errors, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SelfGenerated(Strict):
    """The model's own words instead of the reference answers."""

    name: Literal["self_generated"]
    mode: Literal["answer", "rewrite"] = Field(
        "answer", description="answer: its own answers (2506.17209); rewrite: SDFT (2402.13669)"
    )
    reference_share: float = Field(
        0.0, ge=0, le=1, description="share of rows that keep the reference answer, drawn by seed"
    )
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False)
    max_new_tokens: int = Field(256, gt=0)
    seed: int = Field(0, description="decoding seed, and which rows keep the reference")


class SafetyMix(Strict):
    """A share of harmful prompts with refusals, and benign look-alikes with answers."""

    name: Literal["safety_mix"]
    share: float = Field(0.05, gt=0, lt=1, description="harmful rows / all rows after mixing")
    lookalikes: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="look-alike rows per harmful row"
    )
    responses: Literal["self", "curated"] = Field(
        "self", description="self: written by the model itself; curated: the pool's `response`"
    )
    pool: str = Field("safety_pool", description="JSONL of harmful prompts: shipped name or path")
    lookalike_pool: str = Field("safety_lookalikes", description="JSONL of benign look-alikes")
    max_new_tokens: int = Field(96, gt=0)
    seed: int = Field(0, description="which rows of the pools are drawn")

    @model_validator(mode="after")
    def _leaves_task_rows(self) -> SafetyMix:
        if self.share * (1 + self.lookalikes) >= 1:
            raise ValueError("share × (1 + lookalikes) must stay below 1; lower one of them")
        return self

    def harmful_rows(self, task_rows: int) -> int:
        """How many harmful rows make up `share` of everything, look-alikes included."""
        task_share = 1 - self.share * (1 + self.lookalikes)
        return max(1, round(task_rows * self.share / task_share))


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

Method = Annotated[SelfGenerated | SafetyMix, Field(discriminator="name")]


class Recipe(Strict):
    """One way to fine-tune: slots filled in order, and the arguments of TRL and PEFT."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    summary: str = ""
    methods: list[Method] = Field(default_factory=list, description="applied in this order")
    lora: dict[str, Any] = Field(description="arguments of peft.LoraConfig")
    trainer: dict[str, Any] = Field(default_factory=dict, description="arguments of trl.SFTConfig")
    max_length: int = Field(1024, gt=1, description="tokens; longer rows are cut and counted")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on an accelerator, float32 on a CPU"
    )

    @model_validator(mode="after")
    def _no_method_twice(self) -> Recipe:
        names = [method.name for method in self.methods]
        if len(set(names)) != len(names):
            raise ValueError("methods: each method may appear once")
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
