"""Streams: how an upstream plays one, what clients read of it, and what may leave of its text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from guarding.reading import stage

from safeft.guarding.decision import Decision
from safeft.guarding.gate import Gate
from serve.scripted import ASKED, Place, Script, sse

MARK = "MARK"
STREAM: dict[str, Any] = {"model": "m", "messages": ASKED, "stream": True}


def plays(place: Place, chunks: Sequence[Any], then: str = "end", *, done: bool = True) -> None:
    pieces = sse(chunks, done=done)
    place.upstream.answer = lambda _: Script(pieces, then=then)


def read(place: Place, **more: Any) -> list[Any]:
    """All chunks that the official client reads, of which it reads to [DONE]."""
    return list(place.client.chat.completions.create(**STREAM | more))


def events(place: Place, **more: Any) -> list[Any]:
    """The data of every event that a plain client gets."""
    raw = place.ask(STREAM | more).text
    assert raw.endswith("data: [DONE]\n\n")
    lines = [line[6:] for line in raw.split("\n\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines[:-1]]


def content(chunks: Sequence[Any], index: int = 0) -> str:
    found = [one for chunk in chunks for one in chunk.choices if one.index == index]
    return "".join(one.delta.content or "" for one in found)


def reasons(chunks: Sequence[Any]) -> list[tuple[int, str]]:
    return [
        (one.index, one.finish_reason)
        for chunk in chunks
        for one in chunk.choices
        if one.finish_reason
    ]


def cleared(text: str) -> tuple[int, bool]:
    """How much of a text its gate clears, and whether it is stopped."""
    gate = Gate(stage())
    for window in [*gate.feed(text), *gate.end()]:
        gate.settle(Decision("output", "block", MARK in window.read))
    return gate.cleared, gate.stopped is not None
