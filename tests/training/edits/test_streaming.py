"""The law of memory: an edit holds two modules of the pair, however many there are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from safeft.training.edits import Pair
from safeft.training.methods.safe_lora import SafeLora
from training.edits.growing import MIB, SIZE, adapter_of, grown_by, growth

WEIGHT = 2 * SIZE * SIZE  # bytes of one weight in bfloat16


def write(folder: Path, modules: int, seed: int) -> None:
    """A checkpoint of so many square weights in one file."""
    torch.manual_seed(seed)
    folder.mkdir()
    first = torch.randn(SIZE, SIZE)
    weights = {
        f"model.layers.{n}.q_proj.weight": (first.roll(n) + n).bfloat16() for n in range(modules)
    }
    save_file(weights, folder / "model.safetensors")


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
    """Two weights as stored and their difference in float32, however many modules follow."""
    few, many = grown_by("test_streaming", large)
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
