"""Recipe → adapter."""

from safeft.training.methods import added_rows
from safeft.training.recipes import load_recipe, recipe_schema
from safeft.training.schema import Recipe
from safeft.training.train import Trained, finished, train, write_ahead
from safeft.training.trainer import check_arguments

__all__ = [
    "Recipe",
    "Trained",
    "added_rows",
    "check_arguments",
    "finished",
    "load_recipe",
    "recipe_schema",
    "train",
    "write_ahead",
]
