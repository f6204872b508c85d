"""Laws of look-ahead tuning: what stands where, and that nothing else is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from safeft.data import Example
from safeft.errors import DataError
from safeft.records import Message
from safeft.training.methods import Context
from safeft.training.methods.lookahead import Lookahead
from training.conftest import chats

ROWS = chats([("How does one grow garlic?", "Plant the cloves in the autumn."), ("Why?", "So.")])
Asking = Callable[..., Context]


def applied(context: Context, rows: list[Example] = ROWS, **values: Any) -> list[list[str]]:
    """The turns' texts of each row after the method."""
    done = Lookahead(name="lookahead", **values).apply(rows, context)
    assert done.notes["rows"] == len(rows)
    return [[turn.content for turn in row.messages] for row in done.examples]


@pytest.fixture
def context(ask: Asking, tiny_tokenizer: Any) -> Context:
    """A context with the tiny model's tokenizer."""
    return replace(ask(lambda _: ""), tokenizer=lambda: tiny_tokenizer)


def test_virtual_begins_the_answer_with_what_the_request_ends_with(context: Context) -> None:
    """The same text in every row, in both places."""
    assert applied(context, prefix="Let's see.") == [
        ["How does one grow garlic? Let's see.", "Let's see. Plant the cloves in the autumn."],
        ["Why? Let's see.", "Let's see. So."],
    ]


@pytest.mark.parametrize("tokens", [1, 4, 1000])
def test_real_shows_the_answers_first_tokens(
    context: Context, tiny_tokenizer: Any, tokens: int
) -> None:
    """As many as asked for and there are, and the answer stays as it is."""
    for (request, answer), row in zip(
        applied(context, mode="real", tokens=tokens), ROWS, strict=True
    ):
        assert answer == row.messages[-1].content
        shown = request.removeprefix(row.messages[0].content + " ")
        ids = tiny_tokenizer(answer)["input_ids"][:tokens]
        assert shown == tiny_tokenizer.decode(ids).strip()


def test_only_the_last_request_and_answer_are_changed(context: Context) -> None:
    """Earlier turns and the system prompt stay."""
    turns = [("system", "S."), ("user", "A?"), ("assistant", "B."), ("user", "C?")]
    chat = Example(tuple(Message(*one) for one in [*turns, ("assistant", "D.")]), 1, "rows")
    assert applied(context, [chat], prefix="P") == [["S.", "A?", "B.", "C? P", "P D."]]


def test_what_has_no_request_or_no_tokenizer_is_refused(ask: Asking) -> None:
    """By the method's name and with the way out."""
    with pytest.raises(DataError, match=r"lookahead: plain `text` rows have no requests"):
        applied(ask(lambda _: ""), [Example((), 1, "x", "text")])
    with pytest.raises(DataError, match=r"behind an endpoint; use mode: virtual"):
        applied(ask(lambda _: ""), mode="real")
