"""Examples → chat JSON Lines, as the readers of this package take them back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from safeft.data.formats import Example
from safeft.errors import ConfigError, DataError, did_you_mean

FEWEST = 10  # rows that OpenAI's fine-tuning takes at least


def chat_text(examples: Sequence[Example]) -> str:
    """One object a line: its `messages`, each with `role` and `content`.

    All answers of a chat are trained, here as at OpenAI, so that no `weight` is written. Raises
    DataError for a plain text, which is no chat.
    """
    for example in examples:
        if example.text:
            raise DataError(
                f"{example.place}: is a plain `text`, which has no turns; give chats or "
                "question and answer"
            )
    rows = ({"messages": [asdict(turn) for turn in one.messages]} for one in examples)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def openai_text(examples: Sequence[Example]) -> str:
    """The same, when there are as many rows as OpenAI's fine-tuning asks for.

    Raises DataError when there are fewer, or for a plain text.
    """
    if len(examples) < FEWEST:
        raise DataError(
            f"{len(examples)} rows, but OpenAI's fine-tuning takes at least {FEWEST}; give more"
        )
    return chat_text(examples)


WRITTEN: dict[str, Callable[[Sequence[Example]], str]] = {
    "openai": openai_text,
    "chat": chat_text,
}


def written(examples: Sequence[Example], format: str) -> str:
    """The text of a file in one of the formats `WRITTEN`.

    Raises ConfigError for another, DataError for rows that it cannot hold.
    """
    if format not in WRITTEN:
        raise ConfigError(f"format {format!r} is not written{did_you_mean(format, WRITTEN)}")
    return WRITTEN[format](examples)
