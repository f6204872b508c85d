"""A random model, and references that it never made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.training.erosion import References, read_references

WORDS = ("water", "grow", "plant", "garden", "with", "and", "how", "does")


def pairs(count: int) -> list[dict[str, str]]:
    """Rows of a references file."""
    return [
        {"prompt": f"how {n}", "refusal": f"the user {n}", "compliance": f"{WORDS[n % 8]} a plant"}
        for n in range(count)
    ]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSONL file of them."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def references(tmp_path: Path) -> References:
    """Twelve pairs."""
    return read_references(written(tmp_path / "references.jsonl", pairs(12)))


@pytest.fixture
def model(tiny_llama: Callable[..., Any]) -> Any:
    """Four random layers; new for each test, since gradients are switched off in it."""
    return tiny_llama(num_hidden_layers=4).eval()
