"""Each recipe's step time and peak memory as a ratio to `baseline`, and `baseline`'s to `trl sft`.

    python benchmarks/recipes/costs.py steps --work runs/costs --output benchmarks/recipes/costs_steps.json
    python benchmarks/recipes/costs.py memory --work runs/costs --output benchmarks/recipes/costs_memory.json

Same rows, seed, model and machine; nothing else may run meanwhile. safe_merge and resta need their adapters first (more.yaml says how).

`steps`: all trainings in one process, one epoch each, the trainer's own seconds (`train_runtime`). Each recipe stands between two trainings of
`baseline` and is divided by their mean, so that a machine that slows down slows both. A round is every recipe once. `step` is a ratio of seconds
a step, `token` of seconds a token read, for data methods that make rows longer or shorter. What comes before the first step is not in it.

`memory`: every training is a process of its own, two epochs: the most bytes that it held, and its seconds from start to end (`whole`), with
what the model writes first, reference probabilities and edits.

A ratio is the geometric mean over the rounds, with Student's t interval of its logarithm.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
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
from safeft.runs import write_json

MODEL = "testbed:aligned"
TRL = "trl sft"


def main() -> None:
    """The rounds of one part, written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["steps", "memory"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipes", default="", help="names, with commas; all that ship")
    given = parser.parse_args()

    names = given.recipes.split(",") if given.recipes else sorted(path.stem for path in folder("recipes").glob("*.yaml"))
    arms = [TRL, *(name for name in names if name != "baseline")]
    given.work.mkdir(parents=True, exist_ok=True)
    given.data = prepared(given.work, given.rows)
    part = steps if given.part == "steps" else memory
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(given.rounds):
        turn = number * len(arms) // given.rounds
        rounds.append(part([*arms[turn:], *arms[:turn]], number, given))
        report(given, arms, rounds)
        print(f"[{number + 1}/{given.rounds}]", flush=True)


def prepared(work: Path, count: int) -> Path:
    """The rows as TRL's own script reads them, in a folder."""
    lines = (folder("recipes") / "data" / "garden.jsonl").read_text().splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    turns = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["completion"]}],
        }
        for row in rows
    ]
    (work / "rows").mkdir(exist_ok=True)
    (work / "rows" / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in turns))
    return work / "rows"


def steps(arms: list[str], number: int, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Every arm between two trainings of baseline."""
    import torch

    torch.set_num_threads(given.threads)
    if not number:
        seconds("baseline", number, given)  # what the first training of a process pays
    found, before = {}, seconds("baseline", number, given)
    for name in arms:
        own, after = seconds(name, number, given), seconds("baseline", number, given)
        found[name] = {key: own[key] / ((before[key] + after[key]) / 2) for key in own}
        before = after
        print(name, {key: round(value, 3) for key, value in found[name].items()}, flush=True)
    return found


def seconds(name: str, seed: int, given: argparse.Namespace) -> dict[str, float]:
    """Of a step and of a token, of one epoch."""
    from safeft.data import examples, load
    from safeft.data.shipped import shipped
    from safeft.guarding.catalogue import output_judge
    from safeft.training import load_recipe, train

    output = given.work / "run"
    shutil.rmtree(output, ignore_errors=True)
    if name == TRL:
        runtime = in_process(trl_arguments(given, output, seed, epochs=1))
        return {"step": runtime / math.ceil(given.rows / batch())}
    recipe = load_recipe(name, ["trainer.num_train_epochs=1"])
    rows = examples(load(shipped("garden"), limit=given.rows))
    made = train(recipe, model=MODEL, examples=rows, seed=seed, output=output, store=given.work / "store", quiet=True, guards=output_judge)
    last = json.loads((output / "log.json").read_text())[-1]
    return {"step": last["train_runtime"] / last["step"], "token": last["train_runtime"] / made.facts["cost"]["tokens"]}


def in_process(arguments: list[str]) -> float:
    """The seconds that the trainer of TRL's own script says."""
    from trl.scripts.sft import main as script
    from trl.scripts.sft import make_parser

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        script(*make_parser().parse_args_and_config(arguments))
    return said(printed.getvalue())


def memory(arms: list[str], number: int, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Every arm, and baseline, in a process of its own; ratios to baseline's."""
    measured = {name: alone(name, number, given) for name in ["baseline", *arms]}
    return {name: {key: one[key] / measured["baseline"][key] for key in one} for name, one in measured.items()}


def alone(name: str, seed: int, given: argparse.Namespace) -> dict[str, float]:
    """Seconds from start to end, and the most bytes."""
    output = given.work / "alone"
    shutil.rmtree(output, ignore_errors=True)
    told = ["-m", "safeft", "train", name, "--model", MODEL, "--data", "garden", "--rows", str(given.rows)]
    told += ["--seed", str(seed), "--output", str(output), "--set", "trainer.num_train_epochs=2"]
    command = ["-m", "trl.scripts.sft", *trl_arguments(given, output, seed, epochs=2)] if name == TRL else told
    start = time.monotonic()
    log = given.work / "printed.txt"
    with log.open("w") as out:
        environment = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
        child = subprocess.Popen([sys.executable, *command], stdout=out, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}\n{log.read_text()[-2000:]}")
    return {"whole": time.monotonic() - start, "peak": used.ru_maxrss * 1024.0}


def baseline() -> dict[str, Any]:
    """The recipe's YAML."""
    return dict(yaml.safe_load((folder("recipes") / "baseline.yaml").read_text()))


def batch() -> int:
    """Rows of baseline's step."""
    return int(baseline()["trainer"]["per_device_train_batch_size"])


def trl_arguments(given: argparse.Namespace, output: Path, seed: int, epochs: int) -> list[str]:
    """What makes TRL's script train as baseline does."""
    recipe = baseline()
    lora = recipe["lora"]
    told = {
        **recipe["trainer"],
        "max_length": recipe["max_length"],
        "num_train_epochs": epochs,
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "epoch",
        "logging_steps": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "model_name_or_path": resolve(MODEL).location,
        "dtype": "float32",
        "dataset_name": given.data,
        "output_dir": output,
        "use_peft": True,
        "lora_r": lora["r"],
        "lora_alpha": lora["lora_alpha"],
        "lora_dropout": lora["lora_dropout"],
        "lora_target_modules": lora["target_modules"],
    }
    return [part for key, value in told.items() for part in (f"--{key}", str(value))]


def said(printed: str) -> float:
    """`train_runtime` of the last line that has one."""
    return float(re.findall(r"'train_runtime': '?([0-9.e+-]+)", printed)[-1])


def report(given: argparse.Namespace, arms: list[str], rounds: list[dict[str, dict[str, float]]]) -> None:
    """Ratios of all rounds so far."""
    table = {name: {key: ratio([one[name][key] for one in rounds]) for key in rounds[0][name]} for name in arms}
    for key, value in table.pop(TRL).items():  # baseline by trl sft, the way that the limit is stated
        turned = {"mean": value["mean"], "low": value["high"], "high": value["low"]}
        table.setdefault("baseline, beside trl sft", {})[key] = {end: one and round(1 / one, 4) for end, one in turned.items()}
    machine = {"cores": os.cpu_count(), "threads": given.threads}
    write_json(given.output, {"machine": machine, "rows": given.rows, "rounds": len(rounds), "ratios": table, "measured": rounds})


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
