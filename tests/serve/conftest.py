"""The testbed's aligned model, loaded once, and a proxy whose judge finds a mark in every stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from guarding.reading import checking, having

from safeft.models import load_model, load_tokenizer
from serve.scripted import Place, proxied

MODEL = "testbed:aligned"


@pytest.fixture(scope="package")
def aligned() -> tuple[Any, Any]:
    """Model and tokenizer; tests must not change them."""
    return load_model(MODEL), load_tokenizer(MODEL)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Requests, answers, thoughts and calls with MARK in them are withheld."""
    stages = {"input": {}, "reasoning": {}, "tool_calls": {}}
    with proxied(checking(having("MARK"), **stages)) as found:
        yield found
