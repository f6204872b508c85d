"""The base-aligned pair of a method that compares the aligned model with the one before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pydantic import Field

from safeft.errors import ConfigError
from safeft.training.edits import LoraModule, Pair
from safeft.training.methods.method import Method


class Paired(Method):
    """The keys that name the two models."""

    needs_pair: ClassVar[bool] = True

    base: str | None = Field(None, description="the model before its alignment: a name or folder")
    aligned: str | None = Field(None, description="the aligned model; null = the tuned one")

    def refuse_unfit(self, modules: Iterable[LoraModule], model: str) -> None:
        """Raises ConfigError for one model as both, ModelError for a pair that does not fit."""
        base, aligned = str(self.base), self.aligned or model
        if base == aligned:
            raise ConfigError(
                f"{self.name}: base and aligned are both {base!r}, which shows nothing of what "
                "alignment changed; name the model before its alignment as base"
            )
        pair = Pair.of(base, aligned)
        for one in modules:
            pair.refuse_unfit(one)
