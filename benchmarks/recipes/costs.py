"""Each recipe's step time and peak memory as a ratio to `baseline`, and `baseline`'s to `trl sft`.

    python benchmarks/recipes/costs.py --work runs/costs --output benchmarks/recipes/costs.json

Every training is a process of its own, the same rows, seed and machine; the recipes take turns, so that a slow minute hits all of them.
A step's seconds are the trainer's own (`train_runtime` by its steps), for `trl sft` too. What comes before the first step, such as texts that
the model writes or reference probabilities, is in `whole`, the ratio of the seconds of whole processes.
safe_merge and resta need their adapters first (garden.yaml says how). A ratio is the geometric mean over the rounds, with Student's t interval of its logarithm. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import t

from safeft.assets import folder
from safeft.models.names import resolve

MODEL = "testbed:aligned"
TRL = "trl sft"


def main() -> None:
    """Rounds of trainings, then the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipes", default="", help="names, with commas; all that ship")
    given = parser.parse_args()

    shipped = sorted(path.stem for path in folder("recipes").glob("*.yaml"))
    names = given.recipes.split(",") if given.recipes else shipped
    arms = ["baseline", TRL, *(name for name in names if name != "baseline")]
    given.work.mkdir(parents=True, exist_ok=True)
    rows = prepared(given)
    run(["-c", "import safeft.cli"], given)  # the first start of a machine reads its disk
    rounds = []
    for number in range(given.rounds):
        order = arms[number % len(arms) :] + arms[: number % len(arms)]
        rounds.append({name: measured(name, number, rows, given) for name in order})
        print(f"[{number + 1}/{given.rounds}]", {name: round(one["step"], 4) for name, one in rounds[-1].items()}, flush=True)
        write(given, arms, rounds)


def prepared(given: argparse.Namespace) -> Path:
    """The rows as TRL's own script reads them, in a folder."""
    target = given.work / "rows"
    target.mkdir(exist_ok=True)
    lines = (folder("recipes") / "data" / "garden.jsonl").read_text().splitlines()[: given.rows]
    rows = [json.loads(line) for line in lines]
    turns = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["completion"]}],
        }
        for row in rows
    ]
    (target / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in turns))
    return target


def measured(name: str, number: int, rows: Path, given: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step and of the whole, and the peak of one training."""
    output = given.work / f"{name.replace(' ', '-')}-{number}"
    shutil.rmtree(output, ignore_errors=True)
    if name == TRL:
        printed, whole, peak = run(theirs(rows, output, number, given), given)
        runtime = last(printed)
        steps = given.epochs * math.ceil(given.rows / batch())
    else:
        overrides = ["--set", f"trainer.num_train_epochs={given.epochs}"]
        told = ["train", name, "--model", MODEL, "--data", "garden", "--rows", str(given.rows)]
        command = ["-m", "safeft", *told, "--seed", str(number), "--output", str(output), *overrides]
        _, whole, peak = run(command, given)
        log = json.loads((output / "log.json").read_text())
        runtime, steps = float(log[-1]["train_runtime"]), int(log[-1]["step"])
    shutil.rmtree(output, ignore_errors=True)
    return {"step": runtime / steps, "steps": steps, "whole": whole, "peak": peak}


def batch() -> int:
    """Rows of baseline's step."""
    return int(trainer()["per_device_train_batch_size"])


def trainer() -> dict[str, Any]:
    """Baseline's arguments of TRL."""
    read: dict[str, Any] = yaml.safe_load((folder("recipes") / "baseline.yaml").read_text())
    return {**read["trainer"], "max_length": read["max_length"], "lora": read["lora"]}


def theirs(rows: Path, output: Path, seed: int, given: argparse.Namespace) -> list[str]:
    """TRL's command line with baseline's arguments, its own where a recipe cannot differ."""
    said = trainer()
    lora = said.pop("lora")
    said |= {
        "num_train_epochs": given.epochs,
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "epoch",
        "logging_steps": 5,
        "report_to": "none",
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    model = resolve(MODEL).location
    command = ["-m", "trl.scripts.sft", "--model_name_or_path", str(model), "--dtype", "float32"]
    command += ["--dataset_name", str(rows), "--output_dir", str(output)]
    command += ["--use_peft", "--lora_r", str(lora["r"]), "--lora_alpha", str(lora["lora_alpha"])]
    command += ["--lora_dropout", str(lora["lora_dropout"]), "--lora_target_modules", lora["target_modules"]]
    return command + [part for key, value in said.items() for part in (f"--{key}", str(value))]


def run(command: list[str], given: argparse.Namespace) -> tuple[str, float, float]:
    """What a Python process printed, its seconds and the most bytes that it held."""
    log = given.work / "printed.txt"
    start = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads), "TRL_EXPERIMENTAL_SILENCE": "1"}
    with log.open("w") as out:
        child = subprocess.Popen([sys.executable, *command], stdout=out, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}\n{log.read_text()[-2000:]}")
    return log.read_text(), time.monotonic() - start, used.ru_maxrss * 1024.0


def last(printed: str) -> float:
    """The trainer's seconds, from the last line that it logs."""
    found = re.findall(r"\{[^{}]*train_runtime[^{}]*\}", printed)
    return float(ast.literal_eval(found[-1])["train_runtime"])


def write(given: argparse.Namespace, arms: list[str], rounds: list[dict[str, Any]]) -> None:
    """Ratios of all rounds so far."""
    table: dict[str, Any] = {}
    for name in arms:
        against = TRL if name == "baseline" else "baseline"
        ratios = {key: ratio([one[name][key] / one[against][key] for one in rounds]) for key in ("step", "whole", "peak")}
        table[name] = {"against": against, **ratios, "steps": rounds[0][name]["steps"]}
    report = {
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "threads": given.threads},
        "rows": given.rows,
        "epochs": given.epochs,
        "rounds": len(rounds),
        "ratios": table,
        "measured": rounds,
    }
    given.output.write_text(json.dumps(report, indent=1) + "\n")


def ratio(values: list[float]) -> dict[str, float | None]:
    """Geometric mean and 95 % interval."""
    logs = [math.log(one) for one in values]
    mean, n = sum(logs) / len(logs), len(logs)
    if n < 2:
        return {"mean": round(math.exp(mean), 4), "low": None, "high": None}
    deviation = math.sqrt(sum((one - mean) ** 2 for one in logs) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return {key: round(math.exp(value), 4) for key, value in (("mean", mean), ("low", mean - half), ("high", mean + half))}


if __name__ == "__main__":
    main()
