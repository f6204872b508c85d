"""Recipes by name or path."""

from __future__ import annotations

from collections.abc import Sequence

from safeft.assets import find, read_yaml
from safeft.data import Example
from safeft.training.schema import Recipe


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a shipped name or a path, with `key=value` overrides applied.

    Raises ConfigError naming the file and the key.
    """
    return read_yaml(find("recipes", name), Recipe, overrides)


def added_rows(recipe: Recipe) -> list[Example]:
    """The rows that the recipe's methods may add to the data.

    Raises DataError for a pool that is missing or broken.
    """
    return [row for method in recipe.methods for row in method.added_rows()]
