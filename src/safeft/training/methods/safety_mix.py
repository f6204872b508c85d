"""Safety mixing: a small share of harmful prompts with refusals, beside benign look-alikes.

Safety-Tuned LLaMAs (arXiv 2309.07875) found that a few per cent are enough and that more brings
exaggerated refusals, hence the look-alikes. An attacker, or a user, asks in the form that the task
has taught; `template: task` shows the refusals in that form too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from safeft.data import Example
from safeft.training.methods.context import Applied, Context
from safeft.training.methods.form import Form, form_of
from safeft.training.methods.method import DataMethod
from safeft.training.methods.safety_rows import SafetyRows, read_pool


class SafetyMix(SafetyRows, DataMethod):
    """A share of harmful prompts with refusals, and benign look-alikes with answers."""

    amount: ClassVar[str] = "share"
    cost: ClassVar[str] = "one generation pass"
    source: ClassVar[str] = "2309.07875, 2603.10243"
    evidence: ClassVar[str] = (
        "for: a few per cent of such rows keep most refusals (2309.07875); against: too many bring "
        "over-refusal, and other models' answers in the mix can make harm worse (2603.10243)"
    )

    name: Literal["safety_mix"]
    share: float = Field(0.05, gt=0, lt=1, description="harmful rows / all rows after mixing")
    template: Literal["plain", "task"] = Field(
        "plain",
        description="task: every other safety row in the task's own system prompt and wrapper",
        exclude_if=lambda value: value == "plain",  # runs from before there was a choice
    )

    @model_validator(mode="after")
    def _leaves_task_rows(self) -> SafetyMix:
        if self.share * (1 + self.lookalikes) >= 1:
            raise ValueError("share × (1 + lookalikes) must stay below 1; lower one of them")
        return self

    @property
    def stream(self) -> bool:
        """Its rows are safety rows."""
        return True

    def harmful_rows(self, task_rows: int) -> int:
        """How many harmful rows make up `share` of everything, look-alikes included."""
        task_share = 1 - self.share * (1 + self.lookalikes)
        return max(1, round(task_rows * self.share / task_share))

    def apply(self, examples: Sequence[Example], context: Context) -> Applied:
        """Add safety rows and shuffle everything with the recipe's seed.

        Raises DataError when a pool is missing, broken or too small, or when the model refuses too
        few of the harmful prompts to write its own rows.
        """
        form = form_of(examples) if self.template == "task" else None
        harmful, benign = self.drawn(self.harmful_rows(len(examples)), context)
        mixed = [*examples, *_in_turn(harmful, form), *_in_turn(benign, form)]
        random.Random(self.seed).shuffle(mixed)
        covered = {example.source.partition("#")[2] for example in harmful}
        everything = {row.prompt.category for row in read_pool(self.pool, self.name)}
        notes = {
            "harmful": len(harmful),
            "lookalikes": len(benign),
            "share": round(len(harmful) / len(mixed), 4),
            "categories_without_a_row": sorted(everything - covered, key=_natural),
        }
        return Applied(tuple(mixed), notes | ({"form": form.said()} if form else {}))


def _in_turn(rows: Sequence[Example], form: Form | None) -> list[Example]:
    """Every other row in the task's form; look-alikes as well, or the form would mean a refusal."""
    if form is None:
        return list(rows)
    return [form.worn(row) if place % 2 else row for place, row in enumerate(rows)]


def _natural(category: str) -> tuple[int, str]:
    return (int(category), "") if category.isdigit() else (10**6, category)
