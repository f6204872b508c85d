"""Asks a server for answers and notes when their words come."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import aiohttp
from upstream import answer, pieces

PATIENCE = 30
"""Seconds for one answer; then it counts as failed."""
HUNG = 3
"""So many such answers, and a server is asked for no more in that round."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is asked (as far as /v1), and for which model."""

    url: str
    model: str


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer. Times are seconds from the request on.

    `arrivals` has a time for each piece that came, and how many characters had come by then.
    `problem` says what went wrong, or nothing.
    """

    prompt: str
    text: str
    arrivals: tuple[tuple[float, int], ...]
    end: float
    problem: str = ""

    @property
    def first(self) -> float:
        """When the first words came."""
        return self.arrivals[0][0]

    @property
    def last(self) -> float:
        """When the last words came."""
        return self.arrivals[-1][0]

    @property
    def per_token(self) -> float:
        """Seconds a token after the first, as serving benchmarks count it.

        Whoever holds the first words back and then catches up has a lower one.
        """
        return (self.last - self.first) / max(len(pieces(self.text)) - 1, 1)


def sound(heard: Sequence[Heard], problems: Counter[str], tokens: int | None) -> list[Heard]:
    """Those with nothing wrong; of the others, `problems` counts what is.

    `tokens` is given where the answer is known; another one is a problem.
    """
    good = []
    for one in heard:
        if one.problem or (tokens and one.text != "".join(answer(one.prompt, tokens))):
            problems[one.problem or "another text"] += 1
        else:
            good.append(one)
    return good


def session() -> aiohttp.ClientSession:
    """Keeps connections open, as many as there are requests at once; asks no proxy."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        trust_env=False,
    )


async def ask(
    asking: aiohttp.ClientSession, where: Address, prompt: str, tokens: int, *, stream: bool
) -> Heard:
    """One answer. What goes wrong is told in it, and never raised."""
    body = {
        "model": where.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    }
    came = _Came(perf_counter())
    try:
        async with asking.post(f"{where.url}/chat/completions", json=body) as response:
            if response.status != 200:
                await response.read()
                came.problem = f"status {response.status}"
            elif stream:
                async for line in response.content:
                    came.line(line)
            else:
                came.whole(await response.read())
    except (aiohttp.ClientError, TimeoutError, KeyError, IndexError, ValueError) as error:
        came.problem = type(error).__name__
    return came.heard(prompt)


class _Came:
    """What has come of an answer."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._texts: list[str] = []
        self._arrivals: list[tuple[float, int]] = []
        self._length = 0
        self.problem = ""

    def whole(self, data: bytes) -> None:
        """An answer that does not stream. Raises ValueError or KeyError for another shape."""
        now = perf_counter()
        self._choice(json.loads(data), "message", now)

    def line(self, line: bytes) -> None:
        """A line of a stream. Raises as `whole` does."""
        now = perf_counter()
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            return
        self._choice(json.loads(line[6:]), "delta", now)

    def _choice(self, body: dict[str, Any], said: str, now: float) -> None:
        if body.get("error"):
            self.problem = "error"
        for choice in body.get("choices") or ():
            text = (choice.get(said) or {}).get("content") or ""
            if text:
                self._texts.append(text)
                self._length += len(text)
                self._arrivals.append((now - self._began, self._length))
            if choice.get("finish_reason") == "content_filter":
                self.problem = "content_filter"

    def heard(self, prompt: str) -> Heard:
        """All of it."""
        problem = self.problem or ("" if self._arrivals else "empty")
        end = perf_counter() - self._began
        return Heard(prompt, "".join(self._texts), tuple(self._arrivals), end, problem)


async def ask_all(
    where: Address, prompts: Iterable[str], tokens: int, at_once: int, *, stream: bool
) -> list[Heard]:
    """An answer a prompt, so many at once: whoever has one asks the next."""
    waiting = iter(prompts)
    found: list[Heard] = []

    async def work(asking: aiohttp.ClientSession) -> None:
        for prompt in waiting:
            if sum(one.problem == "TimeoutError" for one in found) >= HUNG:
                return
            found.append(await ask(asking, where, prompt, tokens, stream=stream))

    async with session() as asking:
        await asyncio.gather(*(work(asking) for _ in range(at_once)))
    return found
