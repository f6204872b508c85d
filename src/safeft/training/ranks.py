"""Several processes that train together, as `accelerate launch` and `torchrun` start them.

The first one leads: it alone holds the run's folder, has texts written, and writes what is kept.
The others find all that in the folder, and train their share of every step.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from safeft.runs import locked

# The leader may have a large model write texts for hours while the others wait.
_PATIENCE = timedelta(days=7)


def together() -> bool:
    """Whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def sharded(by: str) -> bool:
    """Whether `accelerate launch` was told to cut the weights into shards, by fsdp or deepspeed."""
    return os.environ.get(f"ACCELERATE_USE_{by.upper()}", "").lower() in ("1", "true", "yes")


def mixed(precision: str) -> bool:
    """Whether `accelerate launch` was told to multiply in this precision, such as fp16."""
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "").lower() == precision


def leads() -> bool:
    """Whether this process is the first, or alone."""
    return not together() or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder, held by the leader for all of them. Raises RunError as `locked` does."""
    if not leads():
        yield
        return
    with locked(folder):
        yield


@contextlib.contextmanager
def leader_first() -> Iterator[None]:
    """What is inside is done by the leader, and then by the others, who find what it made."""
    if not together():
        yield
        return
    with _state().main_process_first():
        yield


def wait() -> None:
    """Until all processes have come here."""
    if together():
        _state().wait_for_everyone()


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Inside, only the leader prints and warns."""
    if leads():
        yield
        return
    logger = logging.getLogger("safeft")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logger.setLevel(level)


def _state() -> Any:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
