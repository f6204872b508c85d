"""A mock OpenAI-compatible server of known latency, in a process of its own.

    python benchmarks/serving/upstream.py --port 9000 [--delay 0.02] [--rate 100]

It answers after `delay` seconds; of a stream the first token comes then, and the others `rate` a
second. What it says is harmless and follows from the prompt alone, as many tokens as were asked
for; what a prompt has behind `Say:` is said first.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODEL = "mock"
SENTENCES = (
    "The garden behind the library is open to everybody from April until the end of October.",
    "Bread dough rises faster in a warm kitchen, but a slow night in the cold gives it more taste.",
    "Trains leave for the coast every hour, and the first one in the morning is seldom full.",
    "A short walk after lunch helps many people to work with a clear head in the afternoon.",
    "The museum shows old maps, and most of them were drawn by sailors on their way home.",
    "Tomatoes want sun, water at the root, and a stick to lean on once they carry fruit.",
    "In winter the lake freezes at its edges first, where the water is shallow and still.",
    "She keeps a list of the birds that she has seen, with the day and the weather of each.",
    "To clean a wooden table, wipe it along the grain with a soft cloth and little water.",
    "The choir meets on Tuesdays, and new voices are welcome at any time of the year.",
    "A good question is often worth more than a quick answer, as our teacher used to say.",
    "The bridge was built in two years, although the engineers had planned for three.",
    "Read the recipe once to the end before you start, and weigh everything beforehand.",
    "Clouds that pile up like towers in the afternoon often bring rain before the evening.",
    "My grandfather repaired clocks, and each room of his house ticked at another pace.",
    "The path along the river is flat, so that children can ride their bicycles there.",
    "Save the file under a new name, then compare both versions line by line.",
    "Our neighbours grow apples of an old kind that keeps until the following spring.",
    "The lecture begins at six, and tea is served in the hall half an hour before.",
    "Paper boats sail well when the folds are sharp and the bottom stays dry.",
    "He learned three chords first, and with these he could play a dozen songs.",
    "A map of the stars shows what can be seen on a clear night in this month.",
    "The baker sells yesterday's rolls for half the price, and they toast very well.",
    "Water the seeds gently, for a strong jet would wash them out of the soil.",
)
_PIECE = re.compile(r"\s*(?:\w{1,5}|[^\w\s])")


def answer(prompt: str, tokens: int) -> list[str]:
    """The pieces of the answer: the same prompt, the same answer."""
    told = re.search(r"Say: (.+)", prompt)
    mixed = random.Random(prompt).sample(SENTENCES, len(SENTENCES))
    enough = itertools.islice(itertools.cycle(mixed), 1 + tokens // 8)
    return pieces(" ".join([*([told.group(1)] if told else []), *enough]))[:tokens]


def pieces(text: str) -> list[str]:
    """A text in about what a tokenizer makes its tokens."""
    return _PIECE.findall(text)


def app(delay: float, rate: float) -> Starlette:
    """The server's application; seconds, and tokens a second."""

    async def completions(request: Request) -> Response:
        body = await request.json()
        began = asyncio.get_running_loop().time()
        prompt = str(body["messages"][-1]["content"])
        said = answer(prompt, body.get("max_tokens") or body.get("max_completion_tokens") or 64)
        if body.get("stream"):
            wants = bool((body.get("stream_options") or {}).get("include_usage"))
            events = stream(said, began + delay, rate, usage=wants)
            return StreamingResponse(events, media_type="text/event-stream")
        await asyncio.sleep(began + delay - asyncio.get_running_loop().time())
        message = {"role": "assistant", "content": "".join(said)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(envelope("chat.completion", [choice], len(said)))

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    routes = [
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/models", models),
    ]
    return Starlette(routes=routes)


async def stream(
    said: list[str], first: float, rate: float, *, usage: bool
) -> AsyncIterator[bytes]:
    """Server-sent events, the first piece at the loop's time `first`."""
    yield chunk({"role": "assistant", "content": ""})
    for place, piece in enumerate(said):
        # By the clock and not by pauses, so that lateness of one token does not add to the next.
        await asyncio.sleep(max(0, first + place / rate - asyncio.get_running_loop().time()))
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    if usage:
        yield framed(envelope("chat.completion.chunk", [], len(said)))
    yield b"data: [DONE]\n\n"


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return framed(envelope("chat.completion.chunk", [choice]))


def framed(body: dict[str, Any]) -> bytes:
    """A JSON object as an event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def envelope(kind: str, choices: list[dict[str, Any]], tokens: int | None = None) -> dict[str, Any]:
    """What is around choices."""
    body = {"id": "chatcmpl-1", "object": kind, "created": 1700000000, "model": MODEL}
    if tokens is None:
        return body | {"choices": choices}
    usage = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}
    return body | {"choices": choices, "usage": usage}


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds")
    parser.add_argument("--rate", type=float, default=100.0, help="tokens a second")
    arguments = parser.parse_args()
    made = app(arguments.delay, arguments.rate)
    uvicorn.run(made, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
