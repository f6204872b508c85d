"""What a training cost: wall seconds over all attempts, tokens, and peak memory.

`seconds` are of the training alone. What a method had the model write before stands beside them as
`generation_seconds` and `generation_tokens`, in full also where several runs share the texts.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

from safeft.runs import read_json, write_json


class Meter:
    """Keeps the cost on disk with every checkpoint, so that a resumed run adds to it."""

    def __init__(self, path: Path, tokens_per_epoch: int) -> None:
        self.path = path
        self.tokens_per_epoch = tokens_per_epoch
        self.before = read_json(path)["seconds"] if path.is_file() else 0.0
        self.start = time.monotonic()

    def write(self, epochs: float) -> None:
        """Record the cost so far, after `epochs` passes over the data."""
        cost = {
            "seconds": round(self.before + time.monotonic() - self.start, 3),
            "tokens": round(self.tokens_per_epoch * epochs),
            "peak_memory_bytes": peak_memory(),
        }
        write_json(self.path, cost)

    def callback(self) -> Any:
        """A trainer callback that records the cost with each checkpoint and at the end."""
        from transformers import TrainerCallback

        meter = self

        class Recorder(TrainerCallback):  # type: ignore[misc]
            def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.is_world_process_zero:
                    meter.write(state.epoch or 0.0)

            on_train_end = on_save

        return Recorder()


def peak_memory() -> int:
    """Peak bytes of the accelerator when there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
