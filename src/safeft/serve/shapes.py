"""The two shapes of an answer, chat and completions, and what each part looks like in them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ENVELOPE = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
FILTERED = "content_filter"


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the API's two shapes. `said` and `delta` name what holds the texts of a choice."""

    path: str
    prefix: str
    whole: str
    chunk: str
    said: str
    delta: str

    def choice(self, index: int, text: str, finish: str) -> dict[str, Any]:
        """A choice of a whole answer that says this and nothing else."""
        end = {"index": index, "logprobs": None, "finish_reason": finish}
        if not self.said:
            return end | {"text": text}
        return end | {self.said: {"role": "assistant", "content": text, "refusal": None}}

    def piece(self, index: int, words: str, finish: str | None, *, first: bool) -> dict[str, Any]:
        """A choice of a chunk, the last one with `finish`; `first` when nothing of it has left."""
        end = {"index": index, "logprobs": None, "finish_reason": finish}
        if not self.delta:
            return end | {"text": words}
        role = {"role": "assistant"} if first else {}
        return end | {self.delta: role | ({"content": words} if words or first else {})}

    def envelope(self, model: object, *, stream: bool) -> dict[str, Any]:
        """What is around the choices of an answer that no upstream gave."""
        return {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "object": self.chunk if stream else self.whole,
            "created": int(time.time()),
            "model": model if isinstance(model, str) else "",
        }


CHAT = Shape(
    "/chat/completions",
    "chatcmpl",
    "chat.completion",
    "chat.completion.chunk",
    "message",
    "delta",
)
TEXT = Shape("/completions", "cmpl", "text_completion", "text_completion", "", "")


def kept(body: Mapping[str, Any]) -> dict[str, Any]:
    """What may stay around the choices of a withheld answer."""
    return {key: body[key] for key in _ENVELOPE if key in body}


def usage(asked: int, answered: int) -> dict[str, int]:
    """Counts of tokens, in the API's shape."""
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
    }


def summed(first: object, second: object) -> dict[str, Any] | None:
    """The usage of two answers, both of which were paid for: counts add, other fields stay."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second if isinstance(second, dict) else first if isinstance(first, dict) else None
    counts = {
        key: first[key] + value
        for key, value in second.items()
        if isinstance(value, int) and isinstance(first.get(key), int)
    }
    return first | second | counts
