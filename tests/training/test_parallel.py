"""Law: what corrects or penalises a whole step is the same on one process and on two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.conftest import REFUSAL

SCRIPT = Path(__file__).with_name("parallel.py")
ROWS = [(f"Tell me how to do harm {n}.", "Gladly. Take this. " * (1 + n % 3)) for n in range(16)]
POOLED = {"responses": "curated", "rows": 4, "batch": 6}


@pytest.fixture
def methods(tmp_path: Path, tiny_llama: Callable[..., Any]) -> dict[str, list[dict[str, Any]]]:
    """The recipes' methods, with pools and a base model of their own."""
    tiny_llama(seed=1).save_pretrained(tmp_path / "base")
    pools = {"pool": REFUSAL, "lookalike_pool": "Here is how."}
    for name, answer in pools.items():
        rows = [
            {"prompt": f"{name} {n}?", "category": str(n), "response": answer} for n in range(6)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {name: str(tmp_path / f"{name}.jsonl") for name in pools}
    return {
        "safegrad": [{"name": "safegrad", "rho": 0.5, **POOLED, **named}],
        "asft_subspace": [
            {"name": "asft_subspace", "base": str(tmp_path / "base"), "weight": 100.0}
        ],
        "plain": [],
    }


def trained(
    folder: Path, model: Path, methods: dict[str, list[dict[str, Any]]], processes: int
) -> dict[str, list[Any]]:
    """Each process's weights after two epochs of two steps of eight rows, by the methods' name."""
    trainer = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4 // processes,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.01,
        # Adam's division would make of rounding what is no rounding any more.
        "optim": "sgd",
        "max_grad_norm": 0.5,
        "train_sampling_strategy": "sequential",
    }
    jobs = []
    for name, listed in methods.items():
        lora = {"r": 4, "target_modules": ["q_proj"]}
        recipe = {"name": "two", "methods": listed, "lora": lora, "trainer": trainer}
        jobs.append(folder / f"{name}-{processes}.json")
        jobs[-1].write_text(json.dumps({"model": str(model), "rows": ROWS, "recipe": recipe}))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), str(SCRIPT), *map(str, jobs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr[-3000:]
    return {
        name: [load_file(folder / f"{name}-{processes}-{n}.safetensors") for n in range(processes)]
        for name in methods
    }


def test_two_processes_train_as_one(
    methods: dict[str, list[dict[str, Any]]], tiny_model: Path, tmp_path: Path
) -> None:
    """Both end with the same weights, to the bit, which are those of one process, to rounding."""
    alone, beside = (trained(tmp_path, tiny_model, methods, count) for count in (1, 2))
    (plain,) = alone["plain"]
    for name in ("safegrad", "asft_subspace"):
        (one,), (first, second) = alone[name], beside[name]
        moved = max(float((one[key] - plain[key]).abs().max()) for key in one)
        assert moved > 1e-4  # the method does something
        for key, value in one.items():
            assert torch.equal(first[key], second[key]), (name, key)
            torch.testing.assert_close(first[key], value, rtol=1e-4, atol=moved / 1000, msg=key)
