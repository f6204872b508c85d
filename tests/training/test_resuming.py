"""Law: whatever a method keeps, a killed and resumed run ends with the same weights."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Command, done, stall_at_first_checkpoint

from training.conftest import RECIPE, REFUSAL, Job

POOLED = "rows: 4, batch: 3, responses: curated, pool: {pool}, lookalike_pool: {benign}"
METHODS = {
    "anchored": (
        "[{{name: constrained}}, {{name: replay, " + POOLED + "}}, {{name: ema, decay: 0.5}}]"
    ),
    "lisa": (
        "[{{name: lisa, safety_steps: 1, task_steps: 2, free_share: 0.0, rows: 4, "
        "responses: curated, pool: {pool}, lookalike_pool: {benign}}}]"
    ),
    "frozen": "[{{name: freeze_layers, pool: {pool}, lookalike_pool: {benign}, prompts: 4}}]",
    "star_dss": "[{{name: star_dss, every: 2}}]",
    "kl": "[{{name: kl_anchor, on: safety, " + POOLED + "}}]",
    "safegrad": "[{{name: safegrad, " + POOLED + "}}]",
    "asft": "[{{name: asft_subspace, base: {base}}}]",
}


@pytest.fixture
def files(tmp_path: Path, tiny_llama: Callable[..., Any]) -> dict[str, str]:
    """Pools of six rows with responses, and a model before its alignment, as files."""
    tiny_llama(seed=1).save_pretrained(tmp_path / "base")
    for name, answer in (("pool", REFUSAL), ("benign", "Here is how.")):
        rows = [
            {"prompt": f"{name} {n}?", "category": str(n), "response": answer} for n in range(6)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {name: str(tmp_path / f"{name}.jsonl") for name in ("pool", "benign")}
    return named | {"base": str(tmp_path / "base")}


@pytest.fixture
def work(tmp_path: Path, job: Job, files: dict[str, str]) -> Callable[[str], Job]:
    """The small job with these methods."""

    def make(name: str) -> Job:
        recipe = tmp_path / "mine.yaml"
        recipe.write_text(RECIPE + f"methods: {METHODS[name].format(**files)}\n")
        return Job(recipe, job.data, job.model)

    return make


def adapters(output: Path) -> list[bytes]:
    """The bytes of each epoch's adapter."""
    found = sorted(output.glob("adapter/epoch-*/adapter_model.safetensors"))
    return [path.read_bytes() for path in found]


@pytest.mark.parametrize("name", METHODS)
def test_after_kill_9_the_same_command_ends_with_the_same_weights(
    work: Callable[[str], Job], tmp_path: Path, name: str
) -> None:
    """To the bit, for each epoch; and the method has changed the weights at all."""
    mine, output = work(name), tmp_path / "killed"
    command = Command(mine.arguments(output), tmp_path / "log", stall_at_first_checkpoint)
    command.until((output / "cost.partial.json").is_file)
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL
    done(*mine.arguments(output))
    done(*mine.arguments(tmp_path / "whole"))
    done(*mine.arguments(tmp_path / "plain", "--set", "methods=[]"))
    assert adapters(output) == adapters(tmp_path / "whole")
    assert len(adapters(output)) == 2
    assert adapters(output)[1] != adapters(tmp_path / "plain")[1]
