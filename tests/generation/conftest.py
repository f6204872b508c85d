"""A generator over the tiny model, loaded once per module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.generation.transformers import TransformersGenerator
from safeft.models import load_model, load_tokenizer

MakeGenerator = Callable[..., TransformersGenerator]


@pytest.fixture(scope="package")
def loaded(tiny_model: Path) -> tuple[Any, Any]:
    """Model and tokenizer; tests must not change them."""
    return load_model(str(tiny_model), precision="float32"), load_tokenizer(str(tiny_model))


@pytest.fixture(scope="package")
def generator(loaded: tuple[Any, Any]) -> MakeGenerator:
    """Makes generators over the tiny model, of any batch size."""

    def make(batch_size: int = 48) -> TransformersGenerator:
        return TransformersGenerator(*loaded, "tiny", batch_size)

    return make
