"""Laws of averaging: the closed form, in the adapter and not in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from safeft.training.kept import COLLECTED
from safeft.training.methods.ema import Ema
from safeft.training.trainer import resume

DECAY = 0.7


class Watch(TrainerCallback):
    """Keeps the trained weights after each step."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.seen = [self.now()]

    def now(self) -> dict[str, Any]:
        """The trained weights, in float64."""
        named = self.model.named_parameters()
        return {name: one.detach().double().clone() for name, one in named if one.requires_grad}

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seen.append(self.now())


@pytest.fixture
def run(fit: Callable[..., Any]) -> tuple[Any, Watch]:
    """A finished training of two epochs of two steps."""
    trainer = fit(Ema(name="ema", decay=DECAY), per_device_train_batch_size=4, num_train_epochs=2)
    watch = Watch(trainer.model)
    trainer.add_callback(watch)
    resume(trainer, None)
    return trainer, watch


def closed_form(seen: list[dict[str, Any]], name: str) -> Any:
    """η^t θ_0 + (1 − η) Σ η^(t−i) θ_i."""
    last = len(seen) - 1
    total = DECAY**last * seen[0][name]
    for step in range(1, last + 1):
        total = total + (1 - DECAY) * DECAY ** (last - step) * seen[step][name]
    return total


def test_the_average_is_its_closed_form(run: tuple[Any, Watch]) -> None:
    """Over every trained weight and all steps, from the weights at the start."""
    trainer, watch = run
    assert len(watch.seen) == 5
    averaged = trainer.keepers["ema"].weights()
    assert averaged.keys() == watch.seen[0].keys()
    for name, value in averaged.items():
        assert torch.allclose(value.double(), closed_form(watch.seen, name), atol=1e-7), name


@pytest.mark.parametrize(("checkpoint", "steps"), [("checkpoint-2", 3), ("checkpoint-4", 5)])
def test_each_epochs_adapter_is_the_average_and_training_goes_on_raw(
    run: tuple[Any, Watch], tmp_path: Path, checkpoint: str, steps: int
) -> None:
    """The checkpoint holds both: what is collected, and what a resumed run goes on from."""
    _, watch = run
    folder = tmp_path / "work" / checkpoint
    raw, collected = (
        load_file(place / "adapter_model.safetensors") for place in (folder, folder / COLLECTED)
    )
    assert raw.keys() == collected.keys()
    for name in watch.seen[0]:
        stored = name.replace(".default", "")
        average = closed_form(watch.seen[:steps], name)
        assert torch.allclose(raw[stored].double(), watch.seen[steps - 1][name], atol=1e-7)
        assert torch.allclose(collected[stored].double(), average, atol=1e-7)
        assert not torch.allclose(average, watch.seen[steps - 1][name], atol=1e-4)


def test_training_is_that_of_the_raw_weights(
    run: tuple[Any, Watch], fit: Callable[..., Any]
) -> None:
    """Averaging watches: the raw weights are those of a training without it, to the bit."""
    plain = fit(per_device_train_batch_size=4, num_train_epochs=2, work="plain")
    resume(plain, None)
    theirs = dict(plain.model.named_parameters())
    for name, one in run[0].model.named_parameters():
        assert torch.equal(one, theirs[name]), name


def test_a_resumed_run_ends_with_the_same_average(
    run: tuple[Any, Watch], fit: Callable[..., Any], tmp_path: Path
) -> None:
    """From the first epoch's checkpoint on, to the bit."""
    again = fit(
        Ema(name="ema", decay=DECAY),
        per_device_train_batch_size=4,
        num_train_epochs=2,
        work="again",
    )
    resume(again, tmp_path / "work/checkpoint-2")
    for name, value in run[0].keepers["ema"].weights().items():
        assert torch.equal(again.keepers["ema"].weights()[name], value), name
