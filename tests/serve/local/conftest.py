"""The testbed's aligned model behind the local server, and the official client of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from safeft.serve.generating import Writer
from safeft.serve.local import app_over
from safeft.serve.running import loopback
from serve.local.waiting import asking


@pytest.fixture(scope="module")
def writer(aligned: tuple[Any, Any]) -> Writer:
    """Over the testbed's aligned model."""
    return Writer(*aligned, "aligned")


@pytest.fixture(scope="module")
def url(writer: Writer) -> Iterator[str]:
    """Where the model is served, for whoever has the key."""
    with loopback(app_over(writer, "secret")) as found:
        yield found


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    """The official client, which tries nothing again."""
    with asking(url) as found:
        yield found
