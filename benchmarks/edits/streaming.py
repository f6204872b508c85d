"""Edits an adapter of a 7B-shaped pair of random weights, and reports seconds and peak memory.

    PYTHONPATH=src python benchmarks/edits/streaming.py --work WORK --layers 32 --output results.json

The pair has Llama-2-7B's shapes (hidden size 4096, 11,008 in between) in bfloat16, one file a layer,
without embeddings and output layer, which no adapter of all linear layers changes: 12.95 GB each with
all 32 layers. Fewer layers stand for less disk; what was made stands in the result. Random weights
cost what trained ones cost. Reading is timed apart: the disk decides it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file

from safeft.training.edits import Pair, open_adapter
from safeft.training.edits.subspace import least_similar, measure

HIDDEN, BETWEEN = 4096, 11_008
SHAPES = {
    **{f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"},
    **{f"mlp.{name}_proj": (BETWEEN, HIDDEN) for name in ("gate", "up")},
    "mlp.down_proj": (HIDDEN, BETWEEN),
}
INDEX = "model.safetensors.index.json"


def main() -> None:
    """Make the pair, edit, report."""
    given = arguments()
    torch.set_num_threads(given.threads)
    for seed, name in enumerate(("base", "aligned")):
        make(given.work / name, given.layers, seed)
    adapter(given.work / "adapter", given.layers, given.rank)
    if given.cold:
        drop_caches(given.work)
    report = edit(given)
    text = json.dumps(report, indent=2) + "\n"
    print(text)
    if given.output:
        given.output.write_text(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="a folder with room for the pair")
    parser.add_argument("--layers", type=int, default=32, help="32 are a 7B model's")
    parser.add_argument("--rank", type=int, default=16, help="of the adapter")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--number", type=int, default=10, help="modules to edit")
    parser.add_argument("--cold", action="store_true", help="forget the pages of the pair first")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def make(folder: Path, layers: int, seed: int) -> None:
    """A checkpoint of random weights, one file a layer; a whole one is kept."""
    if (folder / INDEX).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    named = {}
    for layer in range(layers):
        weights = {
            f"model.layers.{layer}.{name}.weight": torch.empty(shape, dtype=torch.bfloat16).normal_(
                std=0.02, generator=draw
            )
            for name, shape in SHAPES.items()
        }
        file = f"model-{layer:05}.safetensors"
        save_file(weights, folder / file)
        named |= dict.fromkeys(weights, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": named}))


def adapter(folder: Path, layers: int, rank: int) -> None:
    """A LoRA adapter of all these layers, in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(2)
    factors = {}
    for layer in range(layers):
        for name, (outputs, inputs) in SHAPES.items():
            key = f"base_model.model.model.layers.{layer}.{name}.lora_"
            factors[f"{key}A.weight"] = torch.randn(rank, inputs, generator=draw).bfloat16()
            factors[f"{key}B.weight"] = torch.randn(outputs, rank, generator=draw).bfloat16()
    save_file(factors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": "all-linear"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def drop_caches(folder: Path) -> None:
    """Have the kernel forget the files, so that reading is from the disk."""
    for path in folder.rglob("*.safetensors"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def edit(given: argparse.Namespace) -> dict[str, Any]:
    """Safe LoRA's measure of every module and the edit of some, watched."""
    process, over = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    peak = [before]

    def watch() -> None:
        while not over.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    opened = open_adapter(given.work / "adapter")
    pair = Pair.of(str(given.work / "base"), str(given.work / "aligned"))
    found = measure(opened, pair, "filter", 1)
    names = least_similar(found, given.number, 0.0)
    changed = {opened.factors[one.name][1]: one.projected for one in found if one.name in names}
    opened.write(given.work / "edited", changed)
    seconds = time.perf_counter() - start
    over.set()
    watcher.join()
    size = sum(path.stat().st_size for path in (given.work / "base").glob("*.safetensors"))
    return {
        "layers": given.layers,
        "modules": len(found),
        "gigabytes_of_each_model": round(size / 1e9, 2),
        "edited": len(names),
        "threads": given.threads,
        "seconds": round(seconds, 2),
        "seconds_reading": round(pair.seconds, 2),
        "seconds_without_reading": round(seconds - pair.seconds, 2),
        "mib_before": round(before / 2**20),
        # Of the edit alone: making the pair needs a layer of it at once.
        "mib_peak_of_the_edit": round(peak[0] / 2**20),
        "mib_peak_of_the_process": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        ),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
