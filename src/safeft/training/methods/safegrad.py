"""SafeGrad: what pulls against safety is taken out of the task's gradient at each step.

Yi et al. (arXiv 2508.07172): with g_u the task's gradient and g_a that of KL(ref ‖ θ) over the
vocabulary, on the response tokens of safety rows,

    g_u ← g_u − (g_u·g_a / ‖g_a‖²) g_a    where g_u·g_a < 0, and the step uses g_u + ρ g_a.

The products are over all trained parameters as one vector. g_u is the whole step's, all micro-
batches and processes, and before clipping: transformers clips first and calls back then
(`on_pre_optimizer_step`), so this works where the last backward pass ends, and max_grad_norm holds
for what is stepped. Both sides of the KL are computed without dropout, so that g_a is that of one
function of θ and takes no random numbers from the training. Known from the abstract and a digest:
the paper's ρ and the size of its safety batch are unverified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.models.quantized import evaluating
from safeft.training.methods.context import Context
from safeft.training.methods.method import Anchored, OptimizerMethod
from safeft.training.methods.reference import before_training, supervised_logits
from safeft.training.methods.safety_rows import SafetyRows
from safeft.training.methods.stream import safety_stream
from safeft.training.methods.terms import Corrector, Setup


class SafeGrad(SafetyRows, OptimizerMethod):
    """Project the task's gradient where it works against that of safety rows."""

    cost: ClassVar[str] = "a safety batch forward twice and backward in each step"
    source: ClassVar[str] = "2508.07172"
    evidence: ClassVar[str] = (
        "for: holds at high shares of harmful data with few safety rows (authors); "
        "against: one paper, and its ρ was not at hand"
    )
    corrects: ClassVar[bool] = True

    name: Literal["safegrad"]
    rho: float = Field(1.0, ge=0, allow_inf_nan=False, description="ρ: g_a's share of the step")
    rows: int = Field(64, gt=0, description="harmful rows of the safety data")
    batch: int = Field(8, gt=0, description="safety rows in each step")

    @property
    def anchor(self) -> Anchored:
        """The safety rows' tokens."""
        return "safety"

    @property
    def stream(self) -> bool:
        """It has safety rows of its own."""
        return True

    def ahead(self, context: Context) -> None:
        """The answers of the safety rows."""
        self.drawn(self.rows, context)

    def callback(self, setup: Setup) -> Any:
        """A Corrector. Nothing is kept: a step's rows depend on its number and the seed alone."""
        from transformers import TrainerCallback

        # Without its types, transformers' class is Any to mypy, which no class may derive from.
        class Projecting(TrainerCallback, Corrector):  # type: ignore[misc]
            def __init__(self, surgery: Surgery) -> None:
                self.surgery = surgery

            def correct(self, number: int) -> None:
                self.surgery.correct(self.surgery.pull(number))

        return Projecting(Surgery(self, setup))


class Surgery:
    """The safety rows' gradient, and what it does to the one that a step has."""

    def __init__(self, method: SafeGrad, setup: Setup) -> None:
        self._method, self._model, self._size = method, setup.model, setup.batch_size
        self._stream = safety_stream(method, method.rows, setup)
        self.trained = [one for one in setup.model.parameters() if one.requires_grad]

    def pull(self, number: int) -> list[Any]:
        """g_a of this step for each trained parameter: of the mean KL over its safety batch.

        Every process draws the same batch on its own copy of the model, past DDP; the mean over the
        processes makes the same numbers of what their kernels may round differently.
        """
        import torch
        from accelerate.utils import reduce

        places = self._stream.drawn(number, self._method.batch)
        count = self._stream.supervised(places)
        total = [torch.zeros_like(one) for one in self.trained]
        for start in range(0, len(places), self._size):
            for one, more in zip(
                total, self._part(places[start : start + self._size], count), strict=True
            ):
                if more is not None:  # an expert that no token reached
                    one += more
        averaged: list[Any] = reduce(total, "mean")
        return averaged

    def _part(self, places: Sequence[int], count: int) -> tuple[Any, ...]:
        import torch

        batch = self._stream.batch(places)
        with evaluating(self._model):
            logits = supervised_logits(self._model, batch)
        with before_training(self._model):
            reference = supervised_logits(self._model, batch).softmax(-1)
        # ∂KL/∂logits as it is, p_θ − p_ref: exactly zero as long as the model is its reference,
        # where rounding would otherwise be a direction of its own to project onto.
        slope = (logits.detach().softmax(-1) - reference) / count
        return torch.autograd.grad(logits, self.trained, slope, allow_unused=True)

    def correct(self, pull: Sequence[Any]) -> None:
        """Project the parameters' gradients and add ρ g_a; without either they stay, to the bit."""
        square = _inner(pull, pull)
        if square == 0:
            return
        conflict = min(_inner([one.grad for one in self.trained], pull), 0.0)
        share = self._method.rho - conflict / square
        if share == 0:
            return
        for one, toward in zip(self.trained, pull, strict=True):
            if one.grad is None:
                one.grad = (share * toward).to(one.dtype)
            else:
                one.grad.add_(toward, alpha=share)


def _inner(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Of two vectors in parts; a part that is not there is zero."""
    parts = [
        (left.float() * right.float()).sum()
        for left, right in zip(one, other, strict=True)
        if left is not None
    ]
    return float(sum(parts))
