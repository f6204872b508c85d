"""How many tokens a text is for a model whose tokenizer is not here: an estimate by characters."""

from __future__ import annotations

from collections.abc import Iterable

from safeft.records import Message

CHARACTERS = 4  # of English text in a token, as a rule of thumb
FEW = 3  # tokens around a message


def estimated_tokens(messages: Iterable[Message]) -> int:
    """About how many tokens the messages are, those around each included."""
    return sum(len(one.content) // CHARACTERS + FEW for one in messages)
