"""How likely a row is to erode refusals: its likeness to compliance with harmful requests."""

from safeft.training.erosion.references import References, own_references, read_references
from safeft.training.erosion.scoring import KINDS, Kind, Scorer, scorer

__all__ = [
    "KINDS",
    "Kind",
    "References",
    "Scorer",
    "own_references",
    "read_references",
    "scorer",
]
