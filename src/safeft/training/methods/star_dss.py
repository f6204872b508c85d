"""Shaped fine-tuning: what a guard calls safe is learnt, from the rest the model keeps away.

STAR-DSS (arXiv 2505.17196). A guard scores each answer as far as it is said,
s_t = P(safe | request, answer up to token t), and

    L = Σ_t [ s_t · CE_t + (1 − s_t) · KL_t(ref ‖ θ) ] / tokens,

over the task's trained tokens, with the divergence over the vocabulary. From a digest of the paper:
which way its divergence points, and how it reads the tokens between two scores, was not verified.
Ours holds what the model before training said, as our other anchors do.

The guard reads a growing answer again at every `every`-th token: of one of n tokens it reads about
n² / (2 · every).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.training.methods.context import Context
from safeft.training.methods.kl_anchor import divergence
from safeft.training.methods.method import Anchored, LossMethod
from safeft.training.methods.reference import before_training, supervised_logits
from safeft.training.methods.terms import Setup, Step, Term
from safeft.training.methods.windows import GuardScores


class StarDss(LossMethod):
    """Learn each token as far as a guard calls the answer up to it safe; hold it otherwise."""

    cost: ClassVar[str] = "a guard's pass over the data, second forward pass"
    source: ClassVar[str] = "2505.17196"
    evidence: ClassVar[str] = (
        "for: strong across guards and models (2505.17196); against: what the guard misses is "
        "learnt as any other token, and benign data that erode refusals look safe to it"
    )
    counts_documents: ClassVar[bool] = True

    name: Literal["star_dss"]
    guard: str = Field(
        "encoder-guard",
        min_length=1,
        description="who scores: a guard's judge, by a policy's name",
    )
    every: int = Field(8, gt=0, description="tokens after which the guard reads the answer again")

    @property
    def anchor(self) -> Anchored:
        """The task's own tokens."""
        return "task"

    @property
    def asks_guard(self) -> str:
        """The one that scores."""
        return self.guard

    def ahead(self, context: Context) -> None:
        """Look for the guard before the training weights load."""
        context.guard(self.guard)

    def term(self, setup: Setup) -> Term:
        """The guard's weights, as a correction of TRL's loss."""
        return _StarDss(self, setup)


class _StarDss(Term):
    wants_log_p: ClassVar[bool] = True

    def __init__(self, method: StarDss, setup: Setup) -> None:
        self._model = setup.model
        self._scores = GuardScores(setup.context.guard(method.guard), method.every, setup)

    def __call__(self, step: Step, loss: Any) -> Any:
        if step.safety:
            return loss  # another method's rows
        mask, log_p = step.outputs.label_mask, step.outputs.log_p
        held = 1 - self._scores.of(step.inputs, mask)[mask]
        with before_training(self._model):
            reference = supervised_logits(self._model, dict(step.inputs)).log_softmax(-1)
        instead = divergence(reference, log_p) + step.outputs.log_probs[mask]
        # TRL's loss holds every token with weight 1.
        return loss + step.over_tokens(held * instead)
