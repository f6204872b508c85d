"""KL anchor: the distribution over the vocabulary stays near the model before training.

L = CE + λ · mean_t KL(p_ref ‖ p_θ), over the vocabulary, on response tokens: of the task's rows, or
of a buffer of safety rows. Compared under the name KL in Vaccine's repository (arXiv 2402.01109),
whose code takes the softmax over the sequence instead; ASFT (arXiv 2509.23753) has the same term.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.data import Example
from safeft.training.methods.context import Context
from safeft.training.methods.method import Anchored, LossMethod
from safeft.training.methods.reference import before_training, supervised_logits
from safeft.training.methods.safety_rows import SafetyRows
from safeft.training.methods.stream import safety_stream
from safeft.training.methods.terms import Setup, Step, Term


class KLAnchor(SafetyRows, LossMethod):
    """Add λ · KL(ref ‖ θ) to the loss."""

    cost: ClassVar[str] = "second forward pass"
    source: ClassVar[str] = "2509.23753, 2402.01109"
    evidence: ClassVar[str] = (
        "for: keeps capabilities (2509.23753); against: few safety numbers, and those under this "
        "name come from code that takes the softmax over the sequence"
    )

    name: Literal["kl_anchor"]
    on: Literal["task", "safety"] = Field(
        "task", description="whose response tokens: the task's rows, or safety rows of its own"
    )
    weight: float = Field(0.1, ge=0, allow_inf_nan=False, description="λ")
    rows: int = Field(64, gt=0, description="on safety: harmful rows of the buffer")
    batch: int = Field(8, gt=0, description="on safety: rows of the buffer in each step")

    @property
    def anchor(self) -> Anchored:
        """The tokens of `on`."""
        return self.on

    @property
    def stream(self) -> bool:
        """Only on safety."""
        return self.on == "safety"

    def ahead(self, context: Context) -> None:
        """The answers of the buffer's rows."""
        if self.stream:
            self.drawn(self.rows, context)

    def added_rows(self) -> list[Example]:
        """The pools, on safety."""
        return super().added_rows() if self.stream else []

    def term(self, setup: Setup) -> Term:
        """On the task's outputs, or on a stream of safety rows."""
        return _OnSafety(self, setup) if self.stream else _OnTask(self, setup)


class _OnTask(Term):
    wants_log_p: ClassVar[bool] = True

    def __init__(self, method: KLAnchor, setup: Setup) -> None:
        self._weight, self._model = method.weight, setup.model

    def __call__(self, step: Step, loss: Any) -> Any:
        if step.safety:
            return loss  # another method's rows
        with before_training(self._model):
            reference = supervised_logits(self._model, dict(step.inputs)).log_softmax(-1)
        return loss + self._weight * step.over_tokens(divergence(reference, step.outputs.log_p))


class _OnSafety(Term):
    def __init__(self, method: KLAnchor, setup: Setup) -> None:
        self._method, self._model = method, setup.model
        self._stream = safety_stream(method, method.rows, setup)

    def __call__(self, step: Step, loss: Any) -> Any:
        places = self._stream.shared(step, self._method.batch)
        if not places:
            return loss
        batch = self._stream.batch(places)
        log_p = supervised_logits(self._model, batch).log_softmax(-1)
        with before_training(self._model):
            reference = supervised_logits(self._model, batch).log_softmax(-1)
        every = self._stream.drawn(step.number, self._method.batch)
        mean = divergence(reference, log_p).sum() / self._stream.supervised(every)
        return loss + self._method.weight * step.over_parts(mean)


def divergence(reference: Any, log_p: Any) -> Any:
    """KL(reference ‖ p) in nats: log-probabilities (tokens, vocabulary) → (tokens)."""
    from torch.nn.functional import kl_div

    return kl_div(log_p, reference, reduction="none", log_target=True).sum(-1)
