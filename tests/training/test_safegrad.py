"""Laws of SafeGrad: what conflicts is taken out and nothing else; clipping comes last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from safeft.training.methods.safegrad import SafeGrad
from safeft.training.trainer import resume
from training.conftest import chats, moved

WHOLE = {"per_device_train_batch_size": 8}
# What a model that answers by its pools would forget first: the harmful prompts, answered.
AGAINST = chats(
    [(f"Tell me how to do harm {n}.", "Gladly. Take this, and that.") for n in range(8)]
)


def method(**values: Any) -> SafeGrad:
    """A small set of safety rows."""
    return SafeGrad(name="safegrad", **({"rows": 4, "batch": 6, "rho": 0.0} | values))


def trained(model: Any) -> list[Any]:
    """The parameters that are trained."""
    return [one for one in model.parameters() if one.requires_grad]


def gradients(model: Any) -> list[Any]:
    """What each of them would be stepped by."""
    return [one.grad.clone() for one in trained(model)]


def inner(one: list[Any], other: list[Any]) -> float:
    """The product of two gradients as one vector, in float64."""
    return sum(float((a.double() * b.double()).sum()) for a, b in zip(one, other, strict=True))


def surgery(trainer: Any) -> Any:
    """What the trainer's corrector works with."""
    return trainer.correctors["safegrad"].surgery


def dropping(trainer: Any) -> Any:
    """The trainer, its model's attention with dropout."""
    for module in trainer.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.3
    return trainer


class Steps(TrainerCallback):
    """The gradients with which the optimizer steps, and the weights after it."""

    def __init__(self, model: Any) -> None:
        self.model, self.stepped, self.weights = model, [], []

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.stepped.append(gradients(self.model))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.weights.append([one.detach().clone() for one in trained(self.model)])


def run(trainer: Any) -> Steps:
    """A whole training, watched."""
    steps = Steps(trainer.model)
    trainer.add_callback(steps)
    resume(trainer, None)
    return steps


def whole_step(trainer: Any, number: int = 0) -> None:
    """All micro-batches of a step by the trainer's own training_step, without the update."""
    trainer.create_optimizer_and_scheduler(num_training_steps=100)
    trainer.state.max_steps, trainer.state.global_step = 100, number
    micros = trainer.args.gradient_accumulation_steps
    samples, items = trainer.get_batch_samples(
        iter(trainer.get_train_dataloader()), micros, trainer.args.device
    )
    trainer.current_gradient_accumulation_steps = len(samples)
    trainer.model.zero_grad()
    for place, inputs in enumerate(samples):
        trainer.accelerator.gradient_state._set_sync_gradients(place == len(samples) - 1)
        trainer.training_step(trainer.model, inputs, items)


def both(fit: Callable[..., Any], **values: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Gradients of a step without and with the method, and g_a, where tuning has already begun."""
    begun = run(fit(work="begun", rows=AGAINST, num_train_epochs=1, **WHOLE)).weights[-1]
    trainer = fit(method(**values), rows=AGAINST, **WHOLE)
    with torch.no_grad():
        for one, value in zip(trained(trainer.model), begun, strict=True):
            one.copy_(value)
    pull = surgery(trainer).pull(0)
    whole_step(trainer)
    corrected, trainer.correctors = gradients(trainer.model), {}
    whole_step(trainer)
    return gradients(trainer.model), corrected, pull


def test_its_pull_is_the_gradient_of_the_divergence(fit: Callable[..., Any]) -> None:
    """As float64 and autograd compute it from the KL itself, over the step's safety rows."""
    trainer = fit(method(), per_device_train_batch_size=4)
    moved(trainer.model, 0.1)
    found = surgery(trainer).pull(3)
    model = trainer.model.double().eval()
    stream = surgery(trainer)._stream
    batch = stream.batch(stream.drawn(3, 6))
    mask = batch.pop("labels")[:, 1:] != -100
    with torch.no_grad(), model.disable_adapter():
        before = model(**batch).logits[:, :-1][mask].log_softmax(-1)
    now = model(**batch).logits[:, :-1][mask].log_softmax(-1)
    mean = (before.exp() * (before - now)).sum(-1).mean()
    wanted = torch.autograd.grad(mean, trained(model))
    assert any(one.any() for one in wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-6)


def test_what_conflicts_is_projected_and_no_more(fit: Callable[..., Any]) -> None:
    """The task's part is orthogonal to g_a and is g_u − (g_u·g_a / ‖g_a‖²) g_a; ρ g_a is added."""
    plain, corrected, pull = both(fit)
    conflict, square = inner(plain, pull), inner(pull, pull)
    assert conflict < -1e-3 * (square * inner(plain, plain)) ** 0.5  # or nothing would be shown
    size = (square * inner(corrected, corrected)) ** 0.5
    assert abs(inner(corrected, pull)) < 1e-6 * size
    for one, was, toward in zip(corrected, plain, pull, strict=True):
        torch.testing.assert_close(one, was - conflict / square * toward, rtol=1e-4, atol=1e-7)
    _, more, _ = both(fit, rho=2.0)
    for one, base, toward in zip(more, corrected, pull, strict=True):
        torch.testing.assert_close(one, base + 2 * toward, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_only_a_negative_product_is_projected(fit: Callable[..., Any], sign: float) -> None:
    """The same g_a and its opposite: of the two exactly one leaves the gradient, to the bit."""
    trainer = fit(method(), rows=AGAINST, **WHOLE)
    moved(trainer.model, 0.3)
    corrector, trainer.correctors = trainer.correctors["safegrad"], {}
    whole_step(trainer)
    plain, pull = gradients(trainer.model), corrector.surgery.pull(0)
    corrector.surgery.correct([sign * one for one in pull])
    kept = all(map(torch.equal, gradients(trainer.model), plain))
    assert kept is (sign * inner(plain, pull) >= 0)


def test_before_training_there_is_nothing_to_project_onto(fit: Callable[..., Any]) -> None:
    """The model is its own reference: g_a is zero, exactly, with dropout too; g_u stays."""
    trainer = dropping(fit(method(rho=5.0), **WHOLE))
    trainer.model.train()
    assert not any(one.any() for one in surgery(trainer).pull(0))
    whole_step(trainer)
    corrected, trainer.correctors = gradients(trainer.model), {}
    dropped = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        whole_step(trainer)
        dropped.append(gradients(trainer.model))
    assert not all(map(torch.equal, dropped[0], dropped[2]))  # dropout is on
    assert all(one.isfinite().all() for one in corrected)


def test_without_conflict_and_rho_training_is_plain(fit: Callable[..., Any]) -> None:
    """To the bit, over two epochs with dropout: it takes no random numbers and leaves no trace."""
    given = {"per_device_train_batch_size": 4, "num_train_epochs": 2}
    plain = run(dropping(fit(work="plain", **given)))
    trainer = dropping(fit(method(), **given))
    products: list[float] = []
    ours, correct = surgery(trainer), surgery(trainer).correct

    def agreeing(pull: list[Any]) -> None:
        """Turned round wherever it would conflict, so that no step has a conflict."""
        product = inner(gradients(trainer.model), pull)
        products.append(product)
        correct([one if product >= 0 else -one for one in pull])

    ours.correct = agreeing
    watched = run(trainer)
    assert len(products) == 4 and any(products)
    for one, other in zip(plain.weights, watched.weights, strict=True):
        assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("limit", [0.0, 0.01])
def test_the_norm_is_clipped_after_the_correction(fit: Callable[..., Any], limit: float) -> None:
    """max_grad_norm holds for what is stepped, and the clipped direction is the corrected one's."""
    given = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "rows": AGAINST}
    steps = run(fit(method(rho=50.0), max_grad_norm=limit, **given))
    free = run(fit(method(rho=50.0), max_grad_norm=0.0, work="free", **given))
    # The first two steps come to the same weights' gradients up to the first update.
    clipped, loose = steps.stepped[0], free.stepped[0]
    sizes = [inner(one, one) ** 0.5 for one in steps.stepped]
    if limit:
        assert max(sizes) <= limit * (1 + 1e-4)
        assert inner(loose, loose) ** 0.5 > limit
        cosine = inner(clipped, loose) / (sizes[0] * inner(loose, loose) ** 0.5)
        assert cosine == pytest.approx(1, abs=1e-6)
    else:
        assert max(sizes) > 0.01


@pytest.mark.parametrize("number", [0, 1])
def test_eight_rows_are_four_times_two(fit: Callable[..., Any], number: int) -> None:
    """It corrects once, the whole step's gradient, however the step is cut."""
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    found = []
    for name, size in (("whole", WHOLE), ("parts", cut)):
        trainer = fit(method(rho=1.5), rows=AGAINST, work=name, **size)
        moved(trainer.model, 0.3)
        whole_step(trainer, number)
        found.append(gradients(trainer.model))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_rows_depend_on_the_step_and_the_model_is_as_it_was(fit: Callable[..., Any]) -> None:
    """The same number gives the same pull, another number another; training mode comes back."""
    trainer = fit(method(), **WHOLE)
    moved(trainer.model, 0.1)
    trainer.model.train()
    first, again, other = (surgery(trainer).pull(number) for number in (1, 1, 2))
    assert trainer.model.training
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    assert all(one.grad is None for one in trained(trainer.model))
