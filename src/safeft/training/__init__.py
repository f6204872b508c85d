"""Recipe → adapter."""

from safeft.training.recipes import load_recipe, recipe_schema
from safeft.training.schema import Recipe
from safeft.training.train import Trained, finished, train, write_ahead

__all__ = ["Recipe", "Trained", "finished", "load_recipe", "recipe_schema", "train", "write_ahead"]
