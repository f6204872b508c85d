"""The testbed's aligned model, loaded once."""

from __future__ import annotations

from typing import Any

import pytest

from safeft.models import load_model, load_tokenizer

MODEL = "testbed:aligned"


@pytest.fixture(scope="package")
def aligned() -> tuple[Any, Any]:
    """Model and tokenizer; tests must not change them."""
    return load_model(MODEL), load_tokenizer(MODEL)
