"""What may be said of a fine-tuning job at a provider, beside the recipe."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from safeft.training.schema import Recipe, Strict

OPENAI = "openai"
URLS = {OPENAI: "https://api.openai.com/v1"}  # where each provider listens


class Job(Strict):
    """What a job is asked; a provider gets it untouched, and refuses what it does not know."""

    hyperparameters: dict[str, Any] = Field(
        default_factory=dict,
        description="of supervised tuning: n_epochs (default: the recipe's), batch_size, …",
    )
    suffix: str | None = Field(None, description="becomes part of the fine-tuned model's name")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="more of the request, such as validation_file"
    )
    price: float | None = Field(None, ge=0, description="US dollars a million trained tokens")

    def tuned_by(self, recipe: Recipe) -> dict[str, Any]:
        """The hyper-parameters; of the recipe's own only the epochs mean the same elsewhere."""
        return {"n_epochs": recipe.epochs, **self.hyperparameters}

    def cost(self, tokens: int) -> float:
        """US dollars for so many trained tokens; NaN without a price."""
        return math.nan if self.price is None else tokens * self.price / 1e6
