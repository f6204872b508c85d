"""The whole evaluation of one model, everything included, beside Inspect and lm-evaluation-harness.

    python benchmarks/speed/peers.py --output FILE [--per-category 5] [--only safeft inspect lm-eval]

Five decoding seeds at T=0.7 and at T=1, and greedily once: the same prompts, the same Transformers
model, the same batch, and safeft's encoder judge as everybody's scorer. safeft shares the decodings
among as many workers as there are cores; the others have no such option and use threads. Each tool runs in a process
of its own, from start to written results; `start`, `generation` and `judging` are its shares as far
as it can be asked. Needs `pip install 'safeft[offline,inspect,lm-eval]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import rmtree
from typing import Any

from safeft.evaluation import load_suite
from safeft.models import resolve
from safeft.records import Decoding
from safeft.runs import versions

HERE = Path(__file__).resolve().parent
SEEDS, TEMPERATURES, TOKENS, BATCH = 5, (0.0, 0.7, 1.0), 64, 132
WORKERS = len(os.sched_getaffinity(0))
SUITE = """
name: speed
sets: {harm: {kind: harm, prompts: prompts.jsonl}}
max_new_tokens: 64
"""


def prepared(folder: Path, per_category: int) -> int:
    """The prompts as each tool reads them; how many there are."""
    rmtree(folder, ignore_errors=True)  # a finished run would be found finished
    folder.mkdir(parents=True)
    prompts = load_suite("safeft-44", [f"per_category={per_category}"]).prompts["harm"]
    rows = [
        {"question_id": place, "category": one.category, "turns": [one.text], "question": one.text}
        for place, one in enumerate(prompts)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "suite.yaml").write_text(SUITE)
    return len(rows)


def command(tool: str, folder: Path, model: str) -> list[str]:
    """What a user of the tool would run."""
    if tool != "safeft":
        return [sys.executable, str(HERE / f"with_{tool.replace('-', '_')}.py"), str(folder), model]
    seeds = ",".join(map(str, range(SEEDS)))
    temperatures = ",".join(map(str, TEMPERATURES))
    asked = ["--suite", str(folder / "suite.yaml"), "--decoding-seeds", seeds]
    asked += ["--temperatures", temperatures, "--judge", "encoder", "--workers", str(WORKERS)]
    asked += ["--batch-size", str(BATCH)]
    return [
        sys.executable,
        "-m",
        "safeft",
        "eval",
        "testbed:aligned",
        *asked,
        "--output",
        str(folder / "run"),
    ]


def timed(tool: str, folder: Path, model: str) -> dict[str, Any]:
    """Wall-clock seconds of the whole process, and the shares that it wrote down."""
    env = os.environ | {"SPEED_SHARES": str(folder / f"{tool}.shares.json"), "HF_HUB_OFFLINE": "1"}
    start, began = time.perf_counter(), time.time()
    env |= {"SPEED_BEGAN": str(began)}
    subprocess.run(command(tool, folder, model), env=env, check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - start
    written = folder / f"{tool}.shares.json"
    shares = ours(folder / "run", began) if tool == "safeft" else json.loads(written.read_text())
    rounded = {name: round(one, 1) for name, one in shares.items()}
    return {"tool": tool, "seconds": round(took, 1), "shares": rounded}


def ours(run: Path, began: float) -> dict[str, float]:
    """From when each file was finished, of a mean worker: it starts within its first generation."""
    asked = [Decoding(t, seed) for t in TEMPERATURES for seed in range(SEEDS if t else 1)]
    shares = {"start": (run / "manifest.json").stat().st_mtime - began}
    shares |= {"generation": 0.0, "judging": 0.0}
    for worker in range(WORKERS):
        before = began + shares["start"]
        for decoding in asked[worker::WORKERS]:
            made = run.rglob(f"epoch-0/**/{decoding.name}/*.jsonl")
            for when, name in sorted((path.stat().st_mtime, path.name) for path in made):
                kind = "generation" if name.startswith("responses") else "judging"
                shares[kind] += (when - before) / WORKERS
                before = when
    return shares


def main() -> None:
    """Run every tool by turns, and print what each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--per-category", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["safeft", "inspect", "lm-eval"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    arguments = parser.parse_args()
    found = []
    for number in range(arguments.rounds):
        for tool in arguments.only:
            folder = arguments.work / f"{tool}-{number}"
            n = prepared(folder, arguments.per_category)
            one = timed(tool, folder, resolve("testbed:aligned").location)
            found.append(one | {"round": number, "prompts": n, "answers": n * (1 + 2 * SEEDS)})
            print(json.dumps(found[-1]), flush=True)
    arguments.output.write_text(
        json.dumps({"versions": versions(), "runs": found}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
