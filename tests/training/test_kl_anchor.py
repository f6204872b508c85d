"""Laws of the KL anchor: nothing before training, what float64 computes after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from safeft.training import Recipe, added_rows
from safeft.training.methods.kl_anchor import KLAnchor, divergence
from training.conftest import take

WHOLE = {"per_device_train_batch_size": 8}
WEIGHT = 3.0


def method(on: str, **values: Any) -> KLAnchor:
    """The method on these rows; a small buffer."""
    return KLAnchor(name="kl_anchor", **({"on": on, "weight": WEIGHT, "rows": 4} | values))


def test_divergence_is_kl_of_the_reference_over_the_vocabulary() -> None:
    """Σ_v p (log p − log q) for each token, not over the sequence and not the other way round."""
    draw = torch.Generator().manual_seed(0)
    reference, ours = (torch.randn(5, 7, generator=draw).log_softmax(-1) for _ in range(2))
    by_hand = [
        sum(float(p.exp() * (p - q)) for p, q in zip(one, other, strict=True))
        for one, other in zip(reference, ours, strict=True)
    ]
    assert divergence(reference, ours).tolist() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("on", ["task", "safety"])
def test_before_training_it_is_zero(fit: Callable[..., Any], on: str) -> None:
    """The model is its own reference: the loss is that of plain fine-tuning."""
    plain, held = take(fit(work="plain", **WHOLE)), take(fit(method(on), **WHOLE))
    assert float(held.loss) == pytest.approx(float(plain.loss), abs=1e-6)
    for name, gradient in plain.gradients.items():
        assert torch.allclose(gradient, held.gradients[name], atol=1e-6), name


def double_kl(model: Any, batch: dict[str, Any]) -> float:
    """The mean divergence on the batch's labels, computed in float64."""
    model.double().eval()
    plain = {name: value for name, value in batch.items() if name != "labels"}
    mask = batch["labels"][:, 1:] != -100
    with torch.no_grad():
        now = model(**plain).logits[:, :-1][mask].log_softmax(-1)
        with model.disable_adapter():
            before = model(**plain).logits[:, :-1][mask].log_softmax(-1)
    return float((before.exp() * (before - now)).sum(-1).mean())


def test_on_the_task_it_is_what_float64_says(fit: Callable[..., Any]) -> None:
    """After the weights have moved, λ times the mean over the step's response tokens is added."""
    plain, trainer = take(fit(work="plain", **WHOLE), noise=0.1), fit(method("task"), **WHOLE)
    added = float(take(trainer, noise=0.1).loss - plain.loss)
    expected = double_kl(trainer.model, dict(next(iter(trainer.get_train_dataloader()))))
    assert added == pytest.approx(WEIGHT * expected, rel=1e-4)
    assert added > 0.01


def test_on_safety_it_is_what_float64_says(fit: Callable[..., Any]) -> None:
    """The rows are the stream's for this step, and the task's are not held."""
    plain, trainer = take(fit(work="plain", **WHOLE), noise=0.1), fit(method("safety"), **WHOLE)
    added = float(take(trainer, noise=0.1).loss - plain.loss)
    stream = trainer.terms["kl_anchor"]._stream
    assert len(stream.rows) == 8  # four refusals and four look-alikes
    expected = double_kl(trainer.model, stream.batch(stream.drawn(0, 8)))
    assert added == pytest.approx(WEIGHT * expected, rel=1e-4)
    assert added > 0.01


def test_only_on_safety_are_there_rows_to_keep_out_of_an_evaluation() -> None:
    """The pools may enter training, and an overlap with the suite must be found."""
    for on, some in (("task", False), ("safety", True)):
        recipe = Recipe(name="one", lora={}, methods=[method(on)])
        assert bool(added_rows(recipe)) is some
