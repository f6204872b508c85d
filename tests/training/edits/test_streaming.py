"""The law of memory: an edit holds two modules of the pair, however many there are."""

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
import pytest
import torch
from safetensors.torch import save_file

from safeft.training.edits import Pair
from safeft.training.methods.safe_lora import SafeLora

SIZE = 1024
WEIGHT = 2 * SIZE * SIZE  # bytes of one weight in bfloat16
MIB = 2**20


def write(folder: Path, modules: int, seed: int) -> None:
    """A checkpoint of so many square weights in one file."""
    torch.manual_seed(seed)
    folder.mkdir()
    first = torch.randn(SIZE, SIZE)
    weights = {
        f"model.layers.{n}.q_proj.weight": (first.roll(n) + n).bfloat16() for n in range(modules)
    }
    save_file(weights, folder / "model.safetensors")


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


def measured(room: Path, modules: int) -> int:
    """By how much this process grew when it edited that many modules."""
    adapter = room / f"adapter-{modules}"
    if not adapter.exists():
        adapter_of(adapter, modules)
    edit = SafeLora(name="safe_lora", base=str(room / "base"), number=modules)
    with growth() as grown:
        edit.edit(adapter, room / "edited", str(room / "aligned"))
    return grown()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of 48 weights each, 192 MiB in all."""
    room = tmp_path_factory.mktemp("large")
    for seed, name in enumerate(("base", "aligned")):
        write(room / name, 48, seed)
    return room


def test_memory_is_bounded_by_modules(large: Path) -> None:
    """Two weights as stored and their difference in float32, however many modules follow.

    In a process of its own that gives freed memory back at once: of weights of a real model's size
    the system does so by itself.
    """
    code = (
        "import sys, pathlib; from training.edits.test_streaming import measured; "
        "print(*[measured(pathlib.Path(sys.argv[1]), n) for n in (48, 4, 48)])"
    )
    settings = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", code, str(large)]
    run = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, check=True
    )
    _, few, many = map(int, run.stdout.split())  # the first one also pays for imports
    assert few < 6 * WEIGHT + 12 * MIB
    assert many < few + 4 * MIB  # the adapter itself grew by 1.5
    assert 3 * many < 2 * 48 * WEIGHT  # far from holding the pair


def test_the_time_of_reading_is_known(large: Path) -> None:
    """Reported apart, since it is the disk's."""
    pair = Pair.of(str(large / "base"), str(large / "aligned"))
    assert pair.seconds == 0
    for number in range(3):
        pair.base.of_module(f"model.layers.{number}.q_proj")
    assert pair.seconds == pair.base.seconds > 0
