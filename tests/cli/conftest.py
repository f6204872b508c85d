"""The job of the training tests, at the command line; odd models, a policy and an endpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from endpoint import Server, serving
from training.conftest import Job, job, trained

from cli.calibrated import POLICY

__all__ = ["Job", "job", "trained"]


@pytest.fixture(scope="session")
def short_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama: Callable[..., Any], tiny_tokenizer: Any
) -> Path:
    """A model whose context holds 64 tokens."""
    folder = tmp_path_factory.mktemp("short") / "model"
    tiny_llama(max_position_embeddings=64).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def bare_model(tmp_path: Path, tiny_model: Path) -> Path:
    """A model whose tokenizer has no chat template."""
    folder = shutil.copytree(tiny_model, tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy whose judge ships: it compares answers with examples."""
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump(POLICY))
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    """An endpoint that repeats what it is asked."""
    pytest.importorskip("openai")
    with serving() as made:
        yield made
