"""Laws of constrained fine-tuning: weight 1 before training, the paper's weight after."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from safeft.training.methods.constrained import Constrained, positions
from training.conftest import TASK, alike, take

WHOLE = {"per_device_train_batch_size": 8}


def method(**values: Any) -> Constrained:
    """The method with these settings."""
    return Constrained(name="constrained", **values)


def test_before_training_it_is_plain_likelihood_to_the_bit(fit: Callable[..., Any]) -> None:
    """Every weight is exactly 1: the same loss and the same gradients, bit for bit."""
    plain = take(fit(work="plain", **WHOLE))
    held = take(fit(method(reference="each_step"), **WHOLE))
    assert torch.equal(plain.loss, held.loss)
    for name, gradient in plain.gradients.items():
        assert torch.equal(gradient, held.gradients[name]), name


def test_what_was_computed_once_is_what_each_step_would_compute(fit: Callable[..., Any]) -> None:
    """Up to the rounding of other batches; before and after the weights have moved."""
    for noise in (0.0, 0.1):
        once = take(fit(method(), work=f"once-{noise}", **WHOLE), noise=noise)
        anew = take(fit(method(reference="each_step"), work=f"anew-{noise}", **WHOLE), noise=noise)
        alike(once, anew)


def test_the_loss_is_the_papers(fit: Callable[..., Any]) -> None:
    """Token by token by the formula, in plain Python on the log-probabilities of both models."""
    trainer = fit(method(reference="each_step", floor=0.2), **WHOLE)
    step = take(trainer, noise=0.1)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        trainer.model.eval()
        now = trainer.model(**batch, fused_lm_head=True)
        with trainer.model.disable_adapter():
            before = trainer.model(**batch, fused_lm_head=True).log_probs
    total, weights = 0.0, []
    for row, mask in enumerate(now.label_mask):
        for position, place in enumerate(mask.nonzero().flatten().tolist(), 1):
            beta = 0.5 if position == 1 else 2.0 if position <= 5 else 0.1
            gain = float(now.log_probs[row, place] - before[row, place])
            weights.append(max(2 * (1 - 1 / (1 + math.exp(-beta * gain))), 0.2))
            total -= weights[-1] * float(now.log_probs[row, place])
    assert float(step.loss) == pytest.approx(total / int(now.label_mask.sum()), rel=1e-5)
    assert min(weights) == 0.2  # the floor is reached
    assert max(weights) > 1.2


def test_the_weight_has_no_gradient_of_its_own(fit: Callable[..., Any]) -> None:
    """Scaling a β to zero leaves likelihood alone: weight 1 for every token, whatever has moved."""
    free = method(beta_first=0.0, beta_early=0.0, beta_later=0.0, reference="each_step")
    alike(take(fit(work="plain", **WHOLE), noise=0.1), take(fit(free, **WHOLE), noise=0.1))


def test_positions_count_what_is_trained_from_where_a_document_begins() -> None:
    """In a padded batch by row; in a packed row by document, and padding has none."""
    mask = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 1, 0, 0]]).bool()
    assert positions({}, mask)[mask].tolist() == [1, 2, 3, 1]
    # Two documents of 4 and 3 tokens, then padding: the second begins at token 4.
    packed = {"position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0]])}
    labels = torch.tensor([[0, 1, 1, 0, 1, 1, 0]]).bool()
    assert positions(packed, labels)[labels].tolist() == [1, 2, 1, 2]


@pytest.mark.parametrize("packing", [{"packing": True}, {"padding_free": True}])
@pytest.mark.parametrize("reference", ["once", "each_step"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_packed_documents_are_held_as_they_are_apart(
    fit: Callable[..., Any], packing: dict[str, Any], reference: Any
) -> None:
    """Step for step the same loss and gradients, whether documents share a row or not.

    Eager attention reads the documents' boundaries from their positions, as flash attention does.
    """
    apart = take(fit(method(reference=reference), work="apart", **WHOLE), noise=0.1)
    packed = take(fit(method(reference=reference), work="packed", **WHOLE, **packing), noise=0.1)
    alike(apart, packed, 1e-4)


def test_the_reference_is_computed_once_and_kept(fit: Callable[..., Any], tmp_path: Path) -> None:
    """A resumed run reads the file, whatever its model is by then."""
    first = take(fit(method(), **WHOLE), noise=0.1)
    path = tmp_path / "work/reference.safetensors"
    kept = path.stat().st_mtime_ns
    alike(first, take(fit(method(), **WHOLE), noise=0.1), 0)
    assert path.stat().st_mtime_ns == kept
    assert len(list(path.parent.glob("reference*"))) == 1


def test_the_same_document_twice_is_found_twice(fit: Callable[..., Any]) -> None:
    """Rows are known by what they say."""
    rows = [*TASK[:4], *TASK[:4]]
    once = take(fit(method(), rows=rows, work="once", **WHOLE), noise=0.1)
    anew = take(fit(method(reference="each_step"), rows=rows, **WHOLE), noise=0.1)
    alike(once, anew)
