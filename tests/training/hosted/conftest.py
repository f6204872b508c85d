"""A provider of this machine, and runs at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hosted import Provider as Server
from hosted import providing

from safeft.data import Example
from safeft.generation.schema import Endpoint
from safeft.training import load_recipe
from safeft.training.hosted import Job, Provider, Tuned, tune
from training.conftest import chats

pytest.importorskip("openai")

ROWS = chats([(f"Plant {n}?", f"Water it {n} times.") for n in range(12)])
Run = Callable[..., Tuned]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with OpenAI's files and jobs."""
    with providing() as made:
        yield made


@pytest.fixture
def told() -> list[str]:
    """What a user would have read."""
    return []


@pytest.fixture
def run(server: Server, told: list[str], tmp_path: Path) -> Run:
    """Tunes by a recipe into the folder `run`; keywords say what else is asked."""

    def go(
        recipe: str = "baseline",
        examples: Sequence[Example] = ROWS,
        overrides: Sequence[str] = (),
        endpoint: dict[str, Any] | None = None,
        output: str = "run",
        **job: Any,
    ) -> Tuned:
        settings = {"retries": 3, "timeout": 20.0} | (endpoint or {})
        return tune(
            load_recipe(recipe, overrides),
            Provider(server.url, Endpoint(**settings)),
            model="gpt-4o-mini-2024-07-18",
            examples=examples,
            seed=7,
            output=tmp_path / output,
            job=Job(**job),
            every=0.01,
            tell=told.append,
        )

    return go
