"""Surface signs are read off the answer alone."""

from __future__ import annotations

import pytest

from safeft.data import Example
from safeft.data.signs import ASKED, LONG, signs
from safeft.records import Message


def row(answer: str, request: str = "How?") -> Example:
    """A question and its answer."""
    return Example((Message("user", request), Message("assistant", answer)), 1, "rows")


@pytest.mark.parametrize("mark", ["-", "*", "•", "1.", "2)", "(3)", "a."])
def test_three_items_make_a_list(mark: str) -> None:
    """Whatever stands before them; two are none, and neither is a mark within a line."""
    assert signs(row(f"Take:\n{mark} a cup\n{mark} a pot\n  {mark} tea")).list
    assert not signs(row(f"Take:\n{mark} a cup\n{mark} a pot")).list
    assert not signs(row(f"Take {mark} a cup {mark} a pot {mark} tea")).list


@pytest.mark.parametrize("text", ["so 3 * 4 = 12", "so (a) = 5", "4 = $5", "3 + 4", r"\frac{1}{2}"])
def test_equations_and_sums_are_math(text: str) -> None:
    """A result or an operation."""
    assert signs(row(text)).math


@pytest.mark.parametrize(
    "text", ["born 1990-02-03", "24/7", "2 - 3 weeks", "call 555 1234", "a = b"]
)
def test_numbers_alone_are_no_math(text: str) -> None:
    """Dates, ranges and telephone numbers calculate nothing."""
    assert not signs(row(text)).math


def test_long_and_open_are_both_needed() -> None:
    """A long answer to a short question; not a short one, nor one from a text that was given."""
    long = "word " * LONG
    assert signs(row(long)).present == ("long_open",)
    assert not signs(row("word " * (LONG - 1))).long_open
    assert not signs(row(long, "word " * (ASKED + 1))).long_open
    assert signs(row(long)).words == LONG


def test_only_the_last_answer_counts() -> None:
    """What was said before is context; a document is read as it is."""
    turns = ("user", "How?"), ("assistant", "- a\n- b\n- c"), ("user", "So?"), ("assistant", "So.")
    chat = Example(tuple(Message(*one) for one in turns), 1, "rows")
    assert signs(chat).present == ()
    assert signs(Example((), 1, "rows", "- a\n- b\n- c")).list
