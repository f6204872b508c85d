"""Fine-tune a language model without it forgetting how to refuse, and measure whether it did.

Importing safeft imports no torch; each name loads what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from safeft.errors import SafeftError, UserError
from safeft.records import Decoding, Estimate, Label, Prompt, Response, Verdict

if TYPE_CHECKING:
    from safeft.guarding import guard
    from safeft.judges import load_judge
    from safeft.models import load_model
    from safeft.training import load_recipe

_LAZY = {
    "guard": "safeft.guarding",
    "load_judge": "safeft.judges",
    "load_model": "safeft.models",
    "load_recipe": "safeft.training",
}

__all__ = [
    "Decoding",
    "Estimate",
    "Label",
    "Prompt",
    "Response",
    "SafeftError",
    "UserError",
    "Verdict",
    "guard",
    "load_judge",
    "load_model",
    "load_recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'safeft' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
