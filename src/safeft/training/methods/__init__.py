"""One file per method; a recipe names the methods that fill its slots."""

from __future__ import annotations

from collections.abc import Sequence

from safeft.data import Example
from safeft.training.methods.context import Applied, Context
from safeft.training.methods.safety_mix import pool_rows, safety_mix
from safeft.training.methods.self_generated import self_generated
from safeft.training.schema import Method, Recipe, SafetyMix, SelfGenerated

__all__ = ["Applied", "Context", "added_rows", "apply"]


def apply(method: Method, examples: Sequence[Example], context: Context) -> Applied:
    """Run one data method."""
    if isinstance(method, SelfGenerated):
        return self_generated(method, examples, context)
    return safety_mix(method, examples, context)


def added_rows(recipe: Recipe) -> list[Example]:
    """The rows that the recipe's methods may add to the data.

    Raises DataError for a pool that is missing or broken.
    """
    mixes = [method for method in recipe.methods if isinstance(method, SafetyMix)]
    return [row for mix in mixes for row in pool_rows(mix)]
