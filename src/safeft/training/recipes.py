"""Recipes by name or path."""

from __future__ import annotations

from collections.abc import Sequence

from safeft.assets import find, read_yaml
from safeft.training.schema import Recipe


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a shipped name or a path, with `key=value` overrides applied.

    Raises ConfigError naming the file and the key.
    """
    return read_yaml(find("recipes", name), Recipe, overrides)
