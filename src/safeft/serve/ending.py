"""How a stream ends: each choice that was withheld, what the guard found, usage, and [DONE]."""

from __future__ import annotations

from typing import Any

from safeft.guarding.windows import tokens
from safeft.serve.exchange import Exchange
from safeft.serve.inflow import Inflow
from safeft.serve.reading import write
from safeft.serve.shapes import FILTERED, usage
from safeft.serve.sse import DONE, framed

Chunk = dict[str, Any]


def withheld(exchange: Exchange, inflow: Inflow, index: int) -> Chunk:
    """The end of a choice: the refusal, unless part of an answer has left; then no more words."""
    track = inflow.tracks.get(index)
    stopped = track.stopped if track is not None else None
    left = track.left if track is not None else set()
    replaced = stopped is not None and stopped.action == "replace"
    words = exchange.policy.refusal if replaced or not left & {"output", "tool_calls"} else ""
    finish = "stop" if replaced else FILTERED
    choice = exchange.shape.piece(index, words, finish, first=not left)
    return _envelope(exchange, inflow) | {"choices": [choice]}


def closing(exchange: Exchange, inflow: Inflow) -> bytes:
    """What comes behind the last choice, to the end."""
    if not any(track.stopped for track in inflow.tracks.values()):
        return b"".join(framed(data) for data in inflow.last) + DONE
    found = exchange.moderated(inflow.tracks[index] for index in sorted(inflow.choices))
    end = _envelope(exchange, inflow) | {"choices": []}
    last = inflow.last
    if not last and exchange.wants_usage:
        last = [write(end | {"usage": inflow.usage or _seen(exchange, inflow)})]
    return b"".join(framed(data) for data in [write(end | {"moderation": found}), *last]) + DONE


def refused(exchange: Exchange) -> bytes:
    """The whole stream for a request that is not passed on."""
    nothing = Inflow(exchange)
    nothing.envelope = exchange.shape.envelope(exchange.body.get("model"), stream=True)
    chunks = [withheld(exchange, nothing, index) for index in range(len(exchange.prompts))]
    chunks.append(nothing.envelope | {"choices": [], "moderation": exchange.moderated([])})
    if exchange.wants_usage:
        chunks.append(nothing.envelope | {"choices": [], "usage": usage(0, 0)})
    return b"".join(framed(write(chunk)) for chunk in chunks) + DONE


def _envelope(exchange: Exchange, inflow: Inflow) -> Chunk:
    return inflow.envelope or exchange.shape.envelope(exchange.body.get("model"), stream=True)


def _seen(exchange: Exchange, inflow: Inflow) -> dict[str, int]:
    """About how many tokens were read and written, where no upstream says so."""
    asked = {one.content for prompt in exchange.prompts for one in prompt.messages}
    return usage(sum(map(tokens, asked)), sum(track.tokens for track in inflow.tracks.values()))
