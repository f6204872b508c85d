"""Recipe → adapter."""

from safeft.training.arguments import check_arguments
from safeft.training.identity import folder_identity, model_identity
from safeft.training.ranks import one_voice
from safeft.training.recipes import added_rows, load_recipe
from safeft.training.schema import Recipe
from safeft.training.targets import check_targets
from safeft.training.train import Trained, finished, train, write_ahead

__all__ = [
    "Recipe",
    "Trained",
    "added_rows",
    "check_arguments",
    "check_targets",
    "finished",
    "folder_identity",
    "load_recipe",
    "model_identity",
    "one_voice",
    "train",
    "write_ahead",
]
