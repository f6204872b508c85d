"""Laws of logit replay: nothing before training, the mean squared distance after, stored once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from safeft.training.methods.replay import Replay
from training.conftest import alike, take

WHOLE = {"per_device_train_batch_size": 8}
METHOD = Replay(name="replay", weight=3.0, rows=4, batch=6)


def test_before_training_it_is_zero(fit: Callable[..., Any]) -> None:
    """The stored logits are the model's own, up to the rounding of other batches."""
    alike(take(fit(work="plain", **WHOLE)), take(fit(METHOD, **WHOLE)), 1e-6)


def test_it_is_the_mean_squared_distance_on_response_tokens(fit: Callable[..., Any]) -> None:
    """As float64 computes it from both models' logits on the step's rows of the buffer."""
    plain, trainer = take(fit(work="plain", **WHOLE), noise=0.1), fit(METHOD, **WHOLE)
    added = float(take(trainer, noise=0.1).loss - plain.loss)
    stream = trainer.terms["replay"]._stream
    batch = stream.batch(stream.drawn(0, 6))
    mask = batch.pop("labels")[:, 1:] != -100
    model = trainer.model.double().eval()
    with torch.no_grad():
        now = model(**batch).logits[:, :-1][mask]
        with model.disable_adapter():
            before = model(**batch).logits[:, :-1][mask]
    assert added == pytest.approx(3 * float((now - before).square().mean()), rel=1e-4)
    assert added > 0.01


def test_the_logits_are_stored_once(fit: Callable[..., Any], tmp_path: Path) -> None:
    """For each row (response tokens, vocabulary), which a resumed run reads."""
    first = take(fit(METHOD, **WHOLE), noise=0.1)
    path = tmp_path / "work/replay.safetensors"
    stored, written = load_file(path), path.stat().st_mtime_ns
    assert sorted(stored, key=int) == [str(place) for place in range(8)]
    assert {one.shape[1] for one in stored.values()} == {300}
    alike(first, take(fit(METHOD, **WHOLE), noise=0.1), 0)
    assert path.stat().st_mtime_ns == written
