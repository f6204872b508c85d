"""A real HTTP server that speaks the chat completions API, and fails when a test says so."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[[Any, str, int], bool]


class Server(ThreadingHTTPServer):
    """Answers `echo: …`; `fault(handler, prompt, attempt)` may answer in its place."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.fault: Fault = lambda *_: False
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.started: list[float] = []
        self.keys: set[str | None] = set()
        self.under_way = self.most = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    """Chat completions and completions."""

    server: Server

    def do_POST(self) -> None:
        """One request for an answer."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body.get("prompt") or body["messages"][-1]["content"]
        with self.server.lock:
            self.server.seen[text] += 1
            attempt = self.server.seen[text]
            self.server.bodies.append(body)
            self.server.started.append(time.monotonic())
            self.server.keys.add(self.headers["authorization"])
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
        try:
            if not self.server.fault(self, text, attempt):
                self.answer(200, completion(text, "prompt" in body))
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        """One whole answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def completion(text: str, raw: bool = False, **first: Any) -> dict[str, Any]:
    """An answer in the API's own shape."""
    said = {"text": f"echo: {text}"} if raw else {"message": message(f"echo: {text}")}
    return {
        "id": "1",
        "object": "text_completion" if raw else "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", **said, **first}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "system_fingerprint": "fp_1",
    }


def message(content: str | None, **more: Any) -> dict[str, Any]:
    """What the assistant says."""
    return {"role": "assistant", "content": content, **more}


@contextmanager
def serving() -> Iterator[Server]:
    """The server, until the block ends."""
    made = Server()
    with running(made):
        yield made


@contextmanager
def running(made: ThreadingHTTPServer) -> Iterator[None]:
    """A server answers in a thread of its own, until the block ends."""
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
