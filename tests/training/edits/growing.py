"""By how much a process grows that edits an adapter of many large modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file

SIZE = 1024  # rows and columns of each weight
MIB = 2**20


def adapter_of(folder: Path, modules: int) -> Path:
    """A LoRA adapter of rank 2 for all of them."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    factors = {}
    for n in range(modules):
        key = f"base_model.model.model.layers.{n}.q_proj.lora_"
        factors[f"{key}A.weight"] = torch.randn(2, SIZE)
        factors[f"{key}B.weight"] = torch.randn(SIZE, 2)
    save_file(factors, folder / "adapter_model.safetensors")
    return folder


@contextmanager
def growth() -> Iterator[Callable[[], int]]:
    """By how many bytes this process was ever larger than at the start, looked at all the time."""
    process, over = psutil.Process(), threading.Event()
    start = process.memory_info().rss
    peak = [start]

    def watch() -> None:
        while not over.wait(0.0005):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak[0] - start
    finally:
        over.set()
        watcher.join()


def grown_by(module: str, room: Path) -> tuple[int, int]:
    """The bytes that `measured` of a test's module tells for 4 and for 48 modules.

    In a process of its own that gives freed memory back at once: of weights of a real model's size
    the system does so by itself.
    """
    code = (
        f"import sys, pathlib; from training.edits.{module} import measured; "
        "print(*[measured(pathlib.Path(sys.argv[1]), n) for n in (48, 4, 48)])"
    )
    settings = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", code, str(room)]
    run = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, check=True
    )
    _, few, many = map(int, run.stdout.split())  # the first one also pays for imports
    return few, many
