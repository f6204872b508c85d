"""Token-wise constrained fine-tuning: the first tokens of an answer may move least.

Qi et al., "Safety Alignment Should Be Made More Than Just a Few Tokens Deep" (arXiv 2406.05946),
section 4. The gradient of their loss is that of likelihood, token by token weighted with

    w_t = 2 (1 − σ(β_t (log p_θ(y_t) − log p_ref(y_t)))),

which is 1 before training and falls once a token is likelier than it was. A large β_t holds the
token at position t near the model before training.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.training.methods.method import Anchored, LossMethod
from safeft.training.methods.reference import LogProbs, before_training
from safeft.training.methods.terms import Setup, Step, Term


class Constrained(LossMethod):
    """Weigh each token by how far it has moved from the model before training."""

    cost: ClassVar[str] = "one forward pass before training"
    source: ClassVar[str] = "2406.05946"
    evidence: ClassVar[str] = (
        "for: much lower attack success after harmful tuning at like utility (2406.05946); "
        "against: published on Llama-2 and Gemma with harmful data, little on benign data"
    )
    counts_documents: ClassVar[bool] = True

    name: Literal["constrained"]
    beta_first: float = Field(0.5, ge=0, allow_inf_nan=False, description="token 1 of a document")
    beta_early: float = Field(2.0, ge=0, allow_inf_nan=False, description="tokens 2 to `early`")
    beta_later: float = Field(0.1, ge=0, allow_inf_nan=False, description="tokens after `early`")
    early: int = Field(5, ge=1, description="trained tokens of a document that count as early")
    floor: float = Field(1e-3, gt=0, le=1, description="the smallest weight")
    reference: Literal["once", "each_step"] = Field(
        "once", description="once: computed before training and kept; each_step: a forward pass"
    )

    @property
    def anchor(self) -> Anchored:
        """The task's own tokens."""
        return "task"

    @property
    def needs_adapter(self) -> str:
        """Not where the reference is computed once, before the first step."""
        return "" if self.reference == "once" else super().needs_adapter

    def term(self, setup: Setup) -> Term:
        """The weights, as a correction of TRL's loss."""
        return _Constrained(self, setup)


class _Constrained(Term):
    def __init__(self, method: Constrained, setup: Setup) -> None:
        self._method = method
        self._model = setup.model
        self._stored = LogProbs(setup) if method.reference == "once" else None

    def __call__(self, step: Step, loss: Any) -> Any:
        if step.safety:
            return loss  # another method's rows
        log_probs, mask = step.outputs.log_probs, step.outputs.label_mask
        weight = self._weight(log_probs.detach() - self._reference(step), step)
        # TRL's loss holds every token with weight 1.
        return loss - step.over_tokens((weight - 1) * log_probs * mask)

    def _weight(self, gain: Any, step: Step) -> Any:
        """(batch, length − 1): 2 σ(−β x), which is 2 (1 − σ(β x))."""
        beta = _betas(self._method, positions(step.inputs, step.outputs.label_mask))
        return (2 * (-beta * gain).sigmoid()).clamp(min=self._method.floor)

    def _reference(self, step: Step) -> Any:
        if self._stored:
            return self._stored.of(step.inputs, step.outputs.label_mask)
        with before_training(self._model):
            return self._model(**step.inputs, fused_lm_head=True).log_probs


def _betas(method: Constrained, position: Any) -> Any:
    import torch

    early = torch.where(position == 1, method.beta_first, method.beta_early)
    return torch.where(position <= method.early, early, method.beta_later)


def positions(inputs: Any, label_mask: Any) -> Any:
    """Which trained token of its document each label is, from 1: (batch, length − 1).

    Counted over the labels that are trained, from where the document begins, also where several
    documents are packed into one row.
    """
    counted = label_mask.long().cumsum(1)
    if "position_ids" not in inputs:
        return counted
    # A document's first token has no prediction: what was counted there belongs to earlier ones.
    begins = inputs["position_ids"][:, 1:] == 0
    earlier = counted.where(begins, counted.new_zeros(())).cummax(1).values
    return counted - earlier
