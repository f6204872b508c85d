"""One file per method; a recipe names the methods that fill its slots."""

from safeft.training.methods.context import Applied, Context, Guards
from safeft.training.methods.method import (
    DataMethod,
    InferenceMethod,
    LossMethod,
    Method,
    ModelMethod,
    OptimizerMethod,
    WeightEdit,
)
from safeft.training.methods.terms import Corrector, Keeper, Setup, Step, Term

__all__ = [
    "Applied",
    "Context",
    "Corrector",
    "DataMethod",
    "Guards",
    "InferenceMethod",
    "Keeper",
    "LossMethod",
    "Method",
    "ModelMethod",
    "OptimizerMethod",
    "Setup",
    "Step",
    "Term",
    "WeightEdit",
]
