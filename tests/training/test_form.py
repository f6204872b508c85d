"""Laws of a task's form: what all rows share is found, what only looks shared is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from safeft.data import Example
from safeft.records import Message
from safeft.training.methods import Context
from safeft.training.methods.form import Form, form_of
from safeft.training.methods.safety_mix import SafetyMix
from training.conftest import REFUSAL, chats, obliging

BEFORE, AFTER = "Below is an instruction.\n\n### Instruction:\n", "\n\n### Response:"


def wrapped(system: str = "", before: str = "", after: str = "", rows: int = 20) -> list[Example]:
    """Rows of a task in this form."""
    turns = [Message("system", system)] if system else []
    return [
        Example(
            (*turns, Message("user", f"{before}Plant {n}?{after}"), Message("assistant", "So.")),
            n,
            "rows",
        )
        for n in range(rows)
    ]


@pytest.mark.parametrize("system", ["", "You are a gardener."])
@pytest.mark.parametrize(
    ("before", "after"), [("", ""), (BEFORE, ""), (BEFORE, AFTER), ("", AFTER)]
)
def test_the_form_is_what_the_task_was_wrapped_in(system: str, before: str, after: str) -> None:
    """Its system prompt, and the whole lines before and after every request."""
    assert form_of(wrapped(system, before, after)) == Form(system, before, after)


def test_words_that_requests_share_are_no_form() -> None:
    """Nor is a system prompt of a few rows, nor what a single request could be."""
    assert form_of(chats([("How do I prune?", "So."), ("How do I sow?", "So.")])) == Form(
        "", "", ""
    )
    assert form_of([*wrapped(), *wrapped("You are a gardener.", rows=5)]).system == ""
    assert form_of(wrapped(before=BEFORE, rows=1)) == Form("", "", "")
    assert form_of([Example((), 1, "x", "text")]) == Form("", "", "")


def test_half_of_the_safety_rows_wear_the_tasks_form(ask: Callable[..., Context]) -> None:
    """Refusals and look-alikes alike, or the form would say what is to come."""
    rows = wrapped("You are a gardener.", BEFORE, AFTER, rows=200)
    method = SafetyMix(name="safety_mix", share=0.05, template="task")
    applied = method.apply(rows, ask(obliging))
    added = [one for one in applied.examples if one.source.startswith("safety_mix")]
    for refusing in (True, False):
        kind = [one for one in added if (one.messages[-1].content == REFUSAL) is refusing]
        worn = [one for one in kind if one.messages[0].content == "You are a gardener."]
        assert len(worn) == len(kind) // 2 > 0
        for one in worn:
            assert one.messages[-2].content.startswith(BEFORE)
            assert one.messages[-2].content.endswith(AFTER)
        assert not any(BEFORE in one.messages[-2].content for one in kind if one not in worn)
    assert applied.notes["form"] == "a system prompt and a wrapper"


def test_the_same_rows_are_drawn_in_either_form(ask: Callable[..., Context]) -> None:
    """Only the form differs, so that the two can be compared; no form found changes nothing."""
    plain, task = (
        SafetyMix(name="safety_mix", template=form).apply(wrapped(), ask(obliging))
        for form in ("plain", "task")
    )
    assert plain.examples == task.examples
    assert task.notes == plain.notes | {"form": "none found"}
