"""Edits of trained adapters: read module by module, changed by thin matrices, written whole."""

from safeft.training.edits.adapters import Adapter, LoraModule, open_adapter
from safeft.training.edits.pairs import Pair, Weights

__all__ = ["Adapter", "LoraModule", "Pair", "Weights", "open_adapter"]
