"""An upstream that answers as it is told to, and the proxy before it: both real servers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import uvicorn

from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision
from safeft.records import Response
from safeft.serve.app import app
from safeft.serve.observer import Silent
from safeft.serve.server import server
from safeft.serve.settings import Settings

SSE = "text/event-stream"
PATIENCE = 300.0  # seconds; only a hang takes so long
LONG = "one two three four five six seven eight nine ten " * 4  # longer than a first window
ASKED: list[Any] = [{"role": "user", "content": "How do I grow tomatoes?"}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}


@dataclass
class Script:
    """One answer: its pieces as they are sent; then it ends, is cut, or stays open."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    kind: str = SSE
    headers: dict[str, str] = field(default_factory=dict)
    then: str = "end"
    before: Callable[[], Any] | None = None


@dataclass
class Asked:
    """One request as the upstream saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Upstream:
    """An ASGI app. `answer` makes the script for a request's body."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Script] = lambda _: Script()
        self.asked: MutableSequence[Asked] = []
        self.left = threading.Semaphore(0)
        """Released each time somebody leaves before the end."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self.asked.append(Asked(scope["method"], scope["path"], headers, body))
        script = self.answer(json.loads(body) if body else {})
        await self._play(script, receive, send)

    async def _play(self, script: Script, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(receive())
        if script.before is not None:
            await asyncio.to_thread(script.before)
        sent = {"content-type": script.kind, **script.headers}
        headers = [(key.encode(), value.encode()) for key, value in sent.items()]
        await send({"type": "http.response.start", "status": script.status, "headers": headers})
        for piece in script.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
            if gone.done():
                break
        if script.then == "stay":
            await gone
        if gone.done():
            self.left.release()
        gone.cancel()
        if script.then == "cut":
            return  # uvicorn closes the connection of an answer that is not complete
        with suppress(asyncio.CancelledError):
            await send({"type": "http.response.body", "body": b""})


@contextmanager
def running(server: uvicorn.Server) -> Iterator[str]:
    """The URL of a server on a free port, in a thread until the block ends."""
    started = threading.Event()
    startup = server.startup

    async def started_up(*given: Any, **named: Any) -> None:
        await startup(*given, **named)
        started.set()

    server.startup = started_up  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert started.wait(PATIENCE)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


class Counting(Silent):
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.decisions: list[tuple[Decision, str]] = []
        self.requests: list[tuple[str, int]] = []
        self.tokens = 0
        self.present = 0
        self.changed = threading.Condition()

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        self.decisions.append((decision, text.text))

    def leaked(self, tokens: int) -> None:
        self.tokens += tokens

    def active(self, change: int) -> None:
        self.present += change

    def request(self, route: str, status: int, seconds: float) -> None:
        with self.changed:
            self.requests.append((route, status))
            self.changed.notify_all()

    def metrics(self) -> tuple[bytes, str]:
        return b"counted 1\n", "text/plain; version=0.0.4"

    def wait_for(self, count: int) -> None:
        """Until so many requests have ended."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, PATIENCE)


@dataclass
class Place:
    """A proxy that runs, and what is behind it."""

    url: str
    upstream: Upstream
    observer: Counting
    app: Any
    http: httpx.Client

    def ask(self, body: Any = None, path: str = "/v1/chat/completions", **more: Any) -> Any:
        """What a plain client gets; without a body, a whole chat completion is asked for."""
        if "content" not in more:
            more["json"] = body or {"model": "m", "messages": ASKED}
        return self.http.post(path, **more)

    @property
    def client(self) -> openai.OpenAI:
        """The official client, which tries nothing again."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="sk-client", max_retries=0, timeout=PATIENCE
        )


@contextmanager
def proxied(
    checker: Checker,
    upstream: Upstream | None = None,
    observer: Counting | None = None,
    **settings: Any,
) -> Iterator[Place]:
    """The proxy before an upstream."""
    upstream, observer = upstream or Upstream(), observer or Counting()
    chosen = Settings(**settings)
    with running(behind(upstream)) as address:
        made = app(address, checker, chosen, observer)
        front = server(made, chosen, port=0, timeout_graceful_shutdown=1)
        with running(front) as url, plain(url) as http:
            yield Place(url, upstream, observer, made, http)


def behind(upstream: Upstream) -> uvicorn.Server:
    """The server of an upstream."""
    return uvicorn.Server(
        uvicorn.Config(
            upstream,
            port=0,
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
    )


def plain(url: str) -> httpx.Client:
    """A client that reads no certificates, which takes long."""
    return httpx.Client(base_url=url, verify=False, trust_env=False, timeout=PATIENCE)


def completion(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A whole chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        "usage": USAGE,
        **more,
    }


def choice(content: Any = None, index: int = 0, finish: str = "stop", **more: Any) -> Any:
    """A choice of one; keywords are fields of its message."""
    said = {"role": "assistant", "content": content, **more}
    return {"index": index, "message": said, "finish_reason": finish}


def chunk(delta: dict[str, Any] | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A chunk of one choice, or of none; keywords are fields of the choice."""
    ends = {"finish_reason": None} | more
    choices = [] if delta is None else [{"index": index, "delta": delta, **ends}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
    }


def answered(texts: Sequence[str], index: int = 0, finish: str = "stop") -> list[dict[str, Any]]:
    """The chunks of an answer in these pieces."""
    return [
        chunk({"role": "assistant", "content": ""}, index),
        *(chunk({"content": text}, index) for text in texts),
        chunk({}, index, finish_reason=finish),
    ]


def sse(chunks: Sequence[dict[str, Any]], *, done: bool = True) -> list[bytes]:
    """Chunks as server-sent events, each a piece."""
    events = [f"data: {json.dumps(one, ensure_ascii=False)}\n\n".encode() for one in chunks]
    return [*events, b"data: [DONE]\n\n"] if done else events


def whole(body: Any, **more: Any) -> Script:
    """A whole answer."""
    return Script([json.dumps(body).encode()], kind="application/json", **more)
