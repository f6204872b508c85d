"""Lisa: blocks of safety steps and of task steps take turns, and neither may move far.

Huang et al. (arXiv 2405.18641): K1 steps on safety rows, K2 steps on the task, each with a
proximal term

    (ρ / 2) ‖θ − θ_switch‖²,

where θ_switch are the weights at the last switch; it is absent from the first tenth of all steps.
As in the authors' code (their README swaps the two anchors), training begins with safety rows, and
a safety step takes the place of a task step: the task's rows of that step are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.training.methods.context import Context
from safeft.training.methods.method import LossMethod
from safeft.training.methods.safety_rows import SafetyRows
from safeft.training.methods.stream import safety_stream
from safeft.training.methods.terms import Setup, Step, Term


class Lisa(SafetyRows, LossMethod):
    """Alternate safety and task steps, near the weights of the last switch."""

    cost: ClassVar[str] = "none"
    source: ClassVar[str] = "2405.18641"
    evidence: ClassVar[str] = (
        "for: lower harm at equal accuracy under harmful data (2405.18641); "
        "against: a tenth of the task's steps are spent on safety rows"
    )
    alternates: ClassVar[bool] = True

    name: Literal["lisa"]
    safety_steps: int = Field(2, gt=0, description="K1: steps on safety rows, which come first")
    task_steps: int = Field(18, gt=0, description="K2: steps on the task's rows, which follow")
    rho: float = Field(1.0, ge=0, allow_inf_nan=False, description="ρ of the proximal term")
    free_share: float = Field(0.1, ge=0, le=1, description="share of all steps without that term")
    rows: int = Field(64, gt=0, description="harmful rows of the safety data")

    @property
    def stream(self) -> bool:
        """It has safety rows of its own."""
        return True

    def ahead(self, context: Context) -> None:
        """The answers of the safety rows."""
        self.drawn(self.rows, context)

    def term(self, setup: Setup) -> Term:
        """The turns and the proximal term."""
        return _Lisa(self, setup)


class _Lisa(Term):
    def __init__(self, method: Lisa, setup: Setup) -> None:
        self._method, self._size = method, setup.batch_size
        self._stream = safety_stream(method, method.rows, setup)
        self._trained = {
            name: one for name, one in setup.model.named_parameters() if one.requires_grad
        }
        self._switch = self._now()

    def instead(self, number: int, parts: Sequence[int], of: int) -> list[dict[str, Any]] | None:
        """Safety batches of the task's size in a safety step. The weights of a switch are kept."""
        place = number % (self._method.safety_steps + self._method.task_steps)
        if place in (0, self._method.safety_steps):
            self._switch = self._now()
        if place >= self._method.safety_steps:
            return None
        drawn = self._stream.drawn(number, self._size * of)
        return [self._stream.batch(drawn[part::of]) for part in parts]

    def __call__(self, step: Step, loss: Any) -> Any:
        if step.number < self._method.free_share * step.total:
            return loss
        moved = sum(
            (one - self._switch[name]).square().sum() for name, one in self._trained.items()
        )
        return loss + step.once(self._method.rho / 2 * moved)

    def state(self) -> dict[str, Any]:
        """The weights at the last switch."""
        return self._switch

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the weights of a switch before the kill."""
        self._switch = {name: one.to(self._switch[name]) for name, one in state.items()}

    def _now(self) -> dict[str, Any]:
        return {name: one.detach().clone() for name, one in self._trained.items()}
