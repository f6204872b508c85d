"""A small recipe and small data for the tiny model, as files and as objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import done

from safeft.data import Example
from safeft.generation import Scripted
from safeft.records import Message, Prompt
from safeft.training.methods import Context

RECIPE = """
name: small
summary: A small recipe.
lora: {r: 4, lora_alpha: 8, target_modules: [q_proj, v_proj]}
trainer:
  num_train_epochs: 2
  per_device_train_batch_size: 4
  learning_rate: 1.0e-2
  lr_scheduler_type: linear
max_length: 96
precision: float32
"""


@dataclass(frozen=True)
class Job:
    """What is trained: the files of a recipe and of data, and a model's folder."""

    recipe: Path
    data: Path
    model: Path

    def arguments(self, output: Path, *more: object) -> list[object]:
        """The command that trains it into `output`."""
        asked = ["train", self.recipe, "--model", self.model, "--data", self.data]
        return [*asked, "--output", output, *more]


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Job:
    """Two epochs over 16 rows: four steps each."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "small.yaml").write_text(RECIPE)
    rows = [{"prompt": f"Plant {n}?", "completion": f"Water it {n} times."} for n in range(16)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Job(folder / "small.yaml", folder / "rows.jsonl", tiny_model)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, job: Job) -> Path:
    """The output of an uninterrupted training with seed 0."""
    output = tmp_path_factory.mktemp("trained") / "run"
    done(*job.arguments(output))
    return output


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Context]:
    """A context whose model answers by a script; its `asked` lists every prompt that reached it."""

    def make(script: Callable[[Prompt], str], asked: list[Prompt] | None = None) -> Context:
        def answer(prompt: Prompt, _: Any) -> str:
            if asked is not None:
                asked.append(prompt)
            return script(prompt)

        return Context("scripted", lambda: Scripted(answer), tmp_path / "store")

    return make


def chats(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    """Examples of one question and one answer each."""
    return [
        Example((Message("user", asked), Message("assistant", answer)), row, "rows")
        for row, (asked, answer) in enumerate(pairs, 1)
    ]
