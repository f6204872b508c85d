"""The base-aligned pair of a method that compares the aligned model with the one before it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from safeft.training.edits import Weights
from safeft.training.methods.context import Context
from safeft.training.methods.method import Method


class Paired(Method):
    """The keys that name the two models."""

    needs_pair: ClassVar[bool] = True

    base: str | None = Field(None, description="the model before its alignment: a name or folder")
    aligned: str | None = Field(None, description="the aligned model; null = the tuned one")

    def ahead(self, context: Context) -> None:
        """Raises ModelError for a pair without weights, before anything is trained."""
        for name in filter(None, (self.base, self.aligned)):
            Weights.of(name)
