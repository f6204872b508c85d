"""A small recipe and small data for the tiny model, as files and as objects."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import done

from safeft.data import Example
from safeft.generation import Scripted
from safeft.judges import Judge
from safeft.records import Label, Message, Prompt, Response, Verdict
from safeft.training import Recipe
from safeft.training.methods import Context, Method, Setup
from safeft.training.trainer import build

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


SMALL: dict[str, Any] = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
REFUSAL = "I'm sorry, but I can't help with that."
TASK = chats([(f"Plant {n}?", f"Water it {n} times. " + "Well. " * (n % 4)) for n in range(8)])


def obliging(prompt: Prompt) -> str:
    """A model that refuses what the harmful pool asks and answers the rest."""
    return REFUSAL if prompt.id.startswith("safety_pool") else "Here is how that is done."


class Rater:
    """A guard whose P(unsafe) of an answer follows from its characters, by `rate`."""

    measures = "harmful content"
    categories = ("harm",)

    def __init__(self, rate: Callable[[Response], float], name: str = "rater") -> None:
        self.rate, self.name = rate, name
        self.read: list[Response] = []

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per answer; a rate that is no number is one that could not be read."""
        self.read += responses
        return [self._verdict(one) for one in responses]

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """Requests are read as answers without words."""
        return self([Response(one, "") for one in prompts])

    def _verdict(self, one: Response) -> Verdict:
        if math.isnan(rate := self.rate(one)):
            return Verdict(one.prompt.id, Label.UNREAD, self.name)
        label = Label.FULFILLED if rate >= 0.5 else Label.NEITHER
        return Verdict(one.prompt.id, label, self.name, {"harm": rate})


def by_characters(one: Response) -> float:
    """From 0 to 0.96, another for each text."""
    return sum(map(ord, one.text)) % 97 / 100


@pytest.fixture
def fit(
    tiny_llama: Callable[..., Any],
    tiny_tokenizer: Any,
    tmp_path: Path,
    ask: Callable[..., Context],
) -> Callable[..., Any]:
    """Builds a real trainer of the tiny model for methods; keywords are the trainer's arguments.

    `lora` and `weights` stand in for the small adapter and the model.
    """
    from safeft.data.masks import encode
    from safeft.data.sets import to_tokens

    def make(
        *methods: Method,
        rows: Sequence[Example] = TASK,
        work: str = "work",
        guard: Judge | None = None,
        lora: dict[str, Any] | None = SMALL,
        weights: Any = None,
        **arguments: Any,
    ) -> Any:
        given = {"learning_rate": 1e-2, "train_sampling_strategy": "sequential"} | arguments
        recipe = Recipe(
            name="one",
            lora=lora,
            trainer=given,
            max_length=160,
        ).model_copy(update={"methods": list(methods)})
        encode_one = partial(encode, tokenizer=tiny_tokenizer, max_length=160)
        encoded = [encode_one(one) for one in rows]
        told = {"tokenizer": tiny_tokenizer, "rows": encoded, "encode": encode_one, "seed": 0}
        folder, reads = tmp_path / work, guard or Rater(by_characters)
        context = replace(ask(obliging), guards=lambda _: reads)
        setup = partial(Setup, work=folder, context=context, examples=rows, **told)
        parts = (weights or tiny_llama(), tiny_tokenizer, to_tokens(encoded), [])
        return build(recipe, *parts, seed=0, work=folder, quiet=True, setup=setup)

    return make


@dataclass(frozen=True)
class Taken:
    """One step before its update: the loss and the gradients, by parameter."""

    loss: Any
    gradients: dict[str, Any]


def take(trainer: Any, *, noise: float = 0.0, number: int = 0) -> Taken:
    """Loss and gradients of a trainer's first batch, after the adapter was moved by some noise."""
    import torch

    trainer.state.max_steps, trainer.state.global_step = 100, number
    trainer.model.train()
    micros = trainer.args.gradient_accumulation_steps
    batches = iter(trainer.get_train_dataloader())
    samples, items = trainer.get_batch_samples(batches, micros, trainer.args.device)
    trainer.current_gradient_accumulation_steps = len(samples)
    moved(trainer.model, noise)
    trainer.model.zero_grad()
    total = torch.zeros(())
    for inputs in samples:
        loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=items)
        loss.backward()
        total += loss.detach()
    named = trainer.model.named_parameters()
    return Taken(total, {name: one.grad.clone() for name, one in named if one.grad is not None})


def moved(model: Any, noise: float) -> None:
    """Add the same noise to the trained weights of every model that is made alike."""
    import torch

    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for one in model.parameters():
            if one.requires_grad:
                one += noise * torch.randn(one.shape, generator=draw)


def alike(one: Taken, other: Taken, tolerance: float = 1e-5) -> None:
    """Asserts that two steps have the same loss and gradients, up to rounding."""
    import torch

    assert torch.allclose(one.loss, other.loss, atol=tolerance), (one.loss, other.loss)
    assert one.gradients.keys() == other.gradients.keys()
    for name, gradient in one.gradients.items():
        assert torch.allclose(gradient, other.gradients[name], atol=tolerance), name
