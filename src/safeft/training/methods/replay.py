"""Logit replay: on a small buffer of safety rows, the logits stay what they were.

Dark experience replay (DER, arXiv 2004.07211), which arXiv 2512.10150 found best among continual-
learning methods for safety:

    L = CE(task) + α · mean_t ‖z_ref(x_t) − z_θ(x_t)‖² / V,

on the response tokens of the buffer. Divided by the vocabulary's size V, as DER's authors do, α
means the same for every tokenizer. The reference's logits are stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.training.methods.context import Context
from safeft.training.methods.method import Anchored, LossMethod
from safeft.training.methods.reference import before_training, supervised_logits
from safeft.training.methods.safety_rows import SafetyRows
from safeft.training.methods.stream import Stream, safety_stream
from safeft.training.methods.terms import Setup, Step, Term
from safeft.training.ranks import leader_first


class Replay(SafetyRows, LossMethod):
    """Hold the logits on safety rows to those of the model before training."""

    cost: ClassVar[str] = "second forward pass"
    source: ClassVar[str] = "2512.10150"
    evidence: ClassVar[str] = (
        "for: best of five continual-learning methods on three models (2512.10150); "
        "against: one paper, and the buffer's strength must be tuned"
    )

    name: Literal["replay"]
    weight: float = Field(0.5, ge=0, allow_inf_nan=False, description="α")
    rows: int = Field(64, gt=0, description="harmful rows of the buffer")
    batch: int = Field(8, gt=0, description="rows of the buffer in each step")

    @property
    def anchor(self) -> Anchored:
        """The safety rows' tokens."""
        return "safety"

    @property
    def needs_adapter(self) -> str:
        """No: the logits are stored before the first step."""
        return ""

    @property
    def stream(self) -> bool:
        """It has a buffer of its own."""
        return True

    def ahead(self, context: Context) -> None:
        """The answers of the buffer's rows."""
        self.drawn(self.rows, context)

    def term(self, setup: Setup) -> Term:
        """The squared distance on a few rows of the buffer in each step."""
        return _Replay(self, setup)


class _Replay(Term):
    def __init__(self, method: Replay, setup: Setup) -> None:
        self._method, self._model = method, setup.model
        self._stream = safety_stream(method, method.rows, setup)
        self._file = setup.work / "replay.safetensors"
        with leader_first():
            if not self._file.is_file():
                _write(self._file, self._stream, setup)

    def __call__(self, step: Step, loss: Any) -> Any:
        places = self._stream.shared(step, self._method.batch)
        if not places:
            return loss
        logits = supervised_logits(self._model, self._stream.batch(places))
        before = self._stored(places).to(logits)
        every = self._stream.drawn(step.number, self._method.batch)
        mean = (logits - before).square().mean(-1).sum() / self._stream.supervised(every)
        return loss + self._method.weight * step.over_parts(mean)

    def _stored(self, places: Sequence[int]) -> Any:
        import torch
        from safetensors import safe_open

        with safe_open(self._file, "pt") as file:  # mapped: only these rows are read
            return torch.cat([file.get_tensor(str(place)) for place in places])


def _write(path: Path, stream: Stream, setup: Setup) -> None:
    """The reference's logits on each row's response; the file is there when it is whole."""
    from safetensors.torch import save_file

    with before_training(setup.model), setup.autocast():
        found = {
            str(place): supervised_logits(setup.model, stream.batch([place]))
            .to(setup.model.dtype)
            .cpu()
            for place in range(len(stream.rows))
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(found, partial)
    partial.replace(path)
