"""Laws of Lisa: whose turn it is, which rows it sees, and from where the weights may not move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from safeft.training.methods.lisa import Lisa
from training.conftest import REFUSAL, Taken, alike, moved, take

WHOLE = {"per_device_train_batch_size": 8}


def method(**values: Any) -> Lisa:
    """Two safety steps, then three of the task; a small set of safety rows."""
    given = {"safety_steps": 2, "task_steps": 3, "rows": 4} | values
    return Lisa(name="lisa", **given)


def turns(trainer: Any, numbers: range) -> list[bool]:
    """Whether each step is a safety step."""
    return [trainer.terms["lisa"].instead(number, [0], 1) is not None for number in numbers]


def test_safety_and_task_steps_take_turns_in_blocks(fit: Callable[..., Any]) -> None:
    """K1 on safety rows first, K2 on the task's, and so on to the end."""
    found = turns(fit(method(), **WHOLE), range(12))
    assert found == [True, True, False, False, False] * 2 + [True, True]


def test_a_safety_step_sees_safety_rows_and_only_those(
    fit: Callable[..., Any], tiny_tokenizer: Any
) -> None:
    """As many as the task's step would have: refusals and answered look-alikes."""
    trainer = fit(method(), **WHOLE)
    trainer.state.max_steps = 10
    for number, safe in ((0, True), (2, False)):
        trainer.state.global_step = number
        batches = iter(trainer.get_train_dataloader())
        (inputs,), items = trainer.get_batch_samples(batches, 1, trainer.args.device)
        texts = tiny_tokenizer.batch_decode(inputs["input_ids"])
        assert len(texts) == 8
        assert sum(REFUSAL in text for text in texts) == (4 if safe else 0)
        assert any("Plant" in text for text in texts) is not safe
        assert int(items) == int((inputs["labels"][:, 1:] != -100).sum())


def penalty(trainer: Any, number: int) -> float:
    """What the proximal term adds to a loss of zero at a step."""
    inputs = next(iter(trainer.get_train_dataloader()))
    seen = trainer.model(**inputs, fused_lm_head=True)
    trainer.state.max_steps, trainer.state.global_step = 100, number
    trainer.current_gradient_accumulation_steps = 1
    step = trainer._step(trainer.model, inputs, seen, torch.tensor(1))
    return float(trainer.terms["lisa"](step, torch.zeros(())).detach())


def test_the_anchor_is_the_weights_at_the_last_switch(fit: Callable[..., Any]) -> None:
    """(ρ/2) ‖θ − θ_switch‖²: zero at each switch, in both directions, and not between."""
    trainer = fit(method(rho=4.0, free_share=0.0), **WHOLE)
    term, weights = (
        trainer.terms["lisa"],
        [p for p in trainer.model.parameters() if p.requires_grad],
    )
    for number in range(7):
        term.instead(number, [0], 1)
        switched = number in (0, 2, 5)
        if switched:
            at_switch = [one.detach().double().clone() for one in weights]
        distance = sum(
            float((one.detach().double() - other).square().sum())
            for one, other in zip(weights, at_switch, strict=True)
        )
        assert (distance == 0) is switched
        assert penalty(trainer, number) == pytest.approx(2 * distance, rel=1e-5)
        moved(trainer.model, 0.1)


def test_its_gradient_draws_back_to_the_anchor(fit: Callable[..., Any]) -> None:
    """ρ (θ − θ_switch) is added to the plain gradient of the same batch."""
    loose = take(fit(method(rho=0.0, free_share=0.0), work="loose", **WHOLE), noise=0.1)
    trainer = fit(method(rho=4.0, free_share=0.0), **WHOLE)
    tight = take(trainer, noise=0.1)
    anchor = trainer.terms["lisa"].state()
    names = dict(trainer.model.named_parameters())
    pull = {name: 4 * (names[name].detach() - one) for name, one in anchor.items()}
    moves = {name: gradient + pull[name] for name, gradient in loose.gradients.items()}
    distance = sum(float((one / 4).square().sum()) for one in pull.values())
    alike(tight, Taken(loose.loss + 2 * distance, moves))


def test_the_first_tenth_of_all_steps_is_free(fit: Callable[..., Any]) -> None:
    """No proximal term before step 10 of 100, the term from there on."""
    trainer = fit(method(), **WHOLE)
    moved(trainer.model, 0.1)
    assert penalty(trainer, 9) == 0.0
    assert penalty(trainer, 10) > 0.0


def test_the_anchor_is_kept_for_a_resumed_run(fit: Callable[..., Any]) -> None:
    """What a checkpoint keeps gives the same term to a trainer that starts elsewhere."""
    trainer, other = fit(method(), **WHOLE), fit(method(), work="other", **WHOLE)
    moved(other.model, 0.1)
    other.terms["lisa"].instead(2, [0], 1)
    moved(other.model, 0.1)
    moved(trainer.model, 0.1)
    moved(trainer.model, 0.1)
    assert penalty(trainer, 12) != pytest.approx(penalty(other, 12))
    trainer.terms["lisa"].restore(other.terms["lisa"].state())
    assert penalty(trainer, 12) == pytest.approx(penalty(other, 12))
