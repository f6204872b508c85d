"""`safeft serve` in a process of its own, and an upstream that holds its answers back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from processes import PATIENCE, Command, Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

MODEL = "testbed:aligned"
ASKED: list[Any] = [{"role": "user", "content": "How do I grow tomatoes in a garden?"}]
WORDS = "First water the seeds every day, then wait until they have grown. "


class Served:
    """A server in a process of its own."""

    def __init__(
        self, folder: Path, *arguments: object, before: Callable[[], None] | None = None
    ) -> None:
        self.command = Command(["serve", "--port", 0, *arguments], folder / "process", before)
        self.command.until(lambda: self.said("/v1 is "))
        found = re.match(r"(http://\S+)/v1 is ", self.out)
        assert found, self.out
        self.url = found[1]

    @property
    def out(self) -> str:
        return self.command.files[0].read_text()

    def said(self, words: str) -> bool:
        """Whether it has written this, on either stream."""
        return any(path.exists() and words in path.read_text() for path in self.command.files)

    def client(self, key: str = "any") -> openai.OpenAI:
        """The official client, which tries nothing again."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE
        )

    def ask(self, client: openai.OpenAI, **more: Any) -> Any:
        given = {"model": MODEL, "messages": ASKED, "temperature": 0} | more
        return client.chat.completions.create(**given)

    def reload(self) -> None:
        """Sends the signal and waits for what came of it."""
        number = self.command.files[1].read_text().count("reload: ")
        assert self.command.process.pid is not None
        os.kill(self.command.process.pid, signal.SIGHUP)
        said = self.command.files[1].read_text
        self.command.until(lambda: said().count("reload: ") > number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> Result:
        """Tells it to end, which it does in order."""
        result = self.command.send(number)
        assert result.code == 0, result
        assert "Traceback" not in result.err
        return result


@contextmanager
def served(folder: Path, *arguments: object, **more: Any) -> Iterator[Served]:
    """The server, ended in order after the block, and in any case."""
    made = Served(folder, *arguments, **more)
    try:
        yield made
        if made.command.process.is_alive():
            made.end()
    finally:
        made.command.process.kill()


class Held:
    """An upstream that writes half of an answer, and the rest when it is told to."""

    def __init__(self) -> None:
        self.rest = threading.Event()

    def app(self) -> Starlette:
        """The server."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/models", self._models),
            ]
        )

    async def _models(self, _: Request) -> Response:
        return Response('{"object": "list", "data": []}', media_type="application/json")

    async def _chat(self, request: Request) -> Response:
        held = (await request.json())["messages"][-1]["content"] == "hold"
        return StreamingResponse(self._events(held=held), media_type="text/event-stream")

    async def _events(self, *, held: bool) -> AsyncIterator[str]:
        for number in range(8):
            if held and number == 4:
                assert await asyncio.to_thread(self.rest.wait, PATIENCE)
            yield _event({"content": WORDS}, None)
        yield _event({}, "stop") + "data: [DONE]\n\n"


def _event(delta: dict[str, str], finish: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    frame = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(frame | {'choices': [choice]})}\n\n"
