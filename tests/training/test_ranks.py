"""Laws of several processes: `accelerate launch` trains each recipe as one process does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import PATIENCE, done, refused

from safeft.training import load_recipe
from training.architectures import ARCHITECTURES, save, save_adapter
from training.conftest import Job
from training.families.laws import RECIPES, SORRY, overrides, write

ALONE = ("realign",)
SHARED = [name for name in RECIPES if name not in ALONE]
STEPS = ["trainer.num_train_epochs=2", "trainer.logging_steps=1"]
# Whole steps of eight: several processes fill an epoch's last step with rows from its beginning.
WHOLE = {
    "safety_mix": ["methods.0.share=0.1666"],
    "self_replay": ["methods.0.ratio=0.3333"],
}


@pytest.fixture(scope="module")
def commands(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """The command that trains a recipe into a folder, with so many rows in a process's batch."""
    place = tmp_path_factory.mktemp("pools")
    for name, answer in (("harm", SORRY), ("fine", "Gladly.")):
        lines = [
            {"prompt": f"{name} {n}", "category": str(n), "response": answer} for n in range(9)
        ]
        write(place / f"{name}.jsonl", lines)
    model, family = place / "model", ARCHITECTURES["llama-3"]
    save(family, Path(f"{model}-base"), seed=1)
    save_adapter(save(family, model), Path(f"{model}-safety"))

    def command(recipe: str, output: Path, rows: int) -> list[Any]:
        asked = ["train", recipe, "--model", model, "--data", job.data, "--output", output]
        small = overrides(recipe, place, model)
        sized = [*STEPS, *WHOLE.get(recipe, []), f"trainer.per_device_train_batch_size={rows}"]
        return [*asked, *small, *(word for one in sized for word in ("--set", one))]

    return command


def launch(commands: list[list[Any]], folder: Path, *more: str) -> subprocess.Popen[str]:
    """Two real processes, joined by gloo, that run the commands together."""
    told = folder / "commands.json"
    told.write_text(json.dumps([[str(word) for word in one] for one in commands]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = [
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--main_process_port",
        port,
    ]
    asked += ["--mixed_precision", "no", "--dynamo_backend", "no", "--module", "training.launched"]
    started = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        *map(str, asked),
        str(told),
        *more,
    ]
    tests = Path(__file__).parent.parent
    paths = os.pathsep.join([str(tests), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        started,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def losses(output: Path) -> list[float]:
    """Of every step."""
    return [one["loss"] for one in json.loads((output / "log.json").read_text()) if "loss" in one]


def test_two_processes_reach_the_loss_of_one(
    commands: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """Four rows in each of two processes are a step of eight: the same losses, and adapters."""
    from safetensors.torch import load_file

    together = launch([commands(name, tmp_path / f"two-{name}", 4) for name in SHARED], tmp_path)
    for name in SHARED:
        done(*commands(name, tmp_path / f"one-{name}", 8))
    printed, _ = together.communicate(timeout=600)
    assert together.returncode == 0, printed[-3000:]
    for name in SHARED:
        one, two = (losses(tmp_path / f"{many}-{name}") for many in ("one", "two"))
        assert len(one) == len(two) > 2, name
        assert two == pytest.approx(one, abs=1e-3), name
        made = [
            load_file(tmp_path / f"{many}-{name}" / "adapter/epoch-2/adapter_model.safetensors")
            for many in ("one", "two")
        ]
        for key, value in made[0].items():
            assert float((value - made[1][key]).abs().max()) < 1e-2, (name, key)
    assert printed.count("adapters: ") == len(SHARED)


@pytest.mark.parametrize("name", ["constrained", "kl_anchor", "lisa", "safegrad"])
def test_two_processes_of_two_micro_batches_reach_the_loss_of_one(
    name: str, commands: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """Two rows, twice, in each of two processes are a step of eight; safety rows are shared too."""
    more = ["--set", "trainer.gradient_accumulation_steps=2"]
    if name == "kl_anchor":
        more += ["--set", "methods.0.on=safety"]
    together = launch([[*commands(name, tmp_path / "two", 2), *more]], tmp_path)
    done(*commands(name, tmp_path / "one", 8), *more[2:])
    printed, _ = together.communicate(timeout=600)
    assert together.returncode == 0, printed[-3000:]
    one, two = (losses(tmp_path / many) for many in ("one", "two"))
    assert len(one) == len(two) > 2
    assert two == pytest.approx(one, abs=1e-3)


def test_two_killed_processes_go_on_to_the_same_weights(
    commands: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """Killed after the first checkpoint, launched again: the adapter is that of an unbroken run."""
    name = "lisa"
    unbroken, broken = commands(name, tmp_path / "whole", 4), commands(name, tmp_path / "broken", 4)
    first = launch([broken], tmp_path, "stall")
    work, start = tmp_path / "broken" / "checkpoints", time.monotonic()
    while not list(work.glob("checkpoint-*/trainer_state.json")):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() - start < PATIENCE, "nothing happened"
        time.sleep(0.01)  # as `Command.until` waits, for a process that is no Command
    # The launcher gives each process a session of its own: killed alone, it would leave them alive.
    for one in psutil.Process(first.pid).children(recursive=True):
        one.kill()
    first.kill()
    first.communicate()
    assert not (tmp_path / "broken" / "adapter").exists()
    again = launch([broken, unbroken], tmp_path)
    printed, _ = again.communicate(timeout=600)
    assert again.returncode == 0, printed[-3000:]
    whole, resumed = (
        (tmp_path / run / "adapter/epoch-2/adapter_model.safetensors").read_bytes()
        for run in ("whole", "broken")
    )
    assert whole == resumed


@pytest.mark.parametrize("recipe", ALONE)
def test_what_trains_once_more_is_refused_by_name(
    recipe: str, commands: Callable[..., list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is loaded, with what to do instead."""
    assert any(getattr(method, "trains", False) for method in load_recipe(recipe).methods)
    command = commands(recipe, tmp_path / "run", 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused(*command)
    assert recipe in said
    assert "safeft repair" in said
    assert not (tmp_path / "run").exists()
