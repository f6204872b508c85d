"""A small OpenAI-compatible server over one local model, for a machine without another server.

It is what the guarded proxy asks when `safeft serve` is given a model in place of an upstream.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from threading import Event
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from safeft.errors import PromptError, TooLongError, first_line
from safeft.serve.fields import Asked, AskedChat, AskedText, read_asked
from safeft.serve.generating import Wanted, Writer, Written
from safeft.serve.problems import Problem, invalid
from safeft.serve.reading import write
from safeft.serve.responses import json_response, problem_response, until_gone
from safeft.serve.shapes import CHAT, TEXT, Shape, usage
from safeft.serve.sse import DONE, framed

_LOG = logging.getLogger("safeft")
GONE = 499
"""The status of an answer that nobody waits for any more."""


_BROKEN = Problem(500, "generation_failed", "the model failed to answer")


def local_writer(
    model: str,
    adapter: str | None = None,
    *,
    precision: str | None = None,
    trust_remote_code: bool = False,
) -> Writer:
    """What writes a model's answers.

    Raises ModelError when the model, its tokenizer or the adapter cannot be loaded.
    """
    from safeft.models import load_model, load_tokenizer

    adapters = [adapter] if adapter else []
    tokenizer = load_tokenizer(model, adapters=adapters, trust_remote_code=trust_remote_code)
    weights = load_model(
        model, adapters=adapters, precision=precision, trust_remote_code=trust_remote_code
    )
    return Writer(weights, tokenizer, model)


def app_over(writer: Writer, key: str | None = None) -> Starlette:
    """The server over what writes its answers."""
    local, wanted = _Local(writer), f"Bearer {key}".encode()

    def keyed(answer: Callable[[Request], Coroutine[Any, Any, Response]]) -> Any:
        async def answered(request: Request) -> Response:
            try:
                # A proxy may send its own key beside that of its client.
                given = [one.encode() for one in request.headers.getlist("authorization")]
                known = [secrets.compare_digest(one, wanted) for one in given]
                if key is not None and not any(known):
                    raise Problem(401, "invalid_api_key", "wrong key")
                return await answer(request)
            except Problem as problem:
                return problem_response(problem)
            except ClientDisconnect:
                return Response(status_code=GONE)

        return answered

    return Starlette(
        routes=[
            Route("/v1/chat/completions", keyed(local.chat), methods=["POST"]),
            Route("/v1/completions", keyed(local.completions), methods=["POST"]),
            Route("/v1/models", keyed(local.models)),
        ]
    )


class _Local:
    """Answers requests one at a time, in the order in which they came."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="safeft-model")
        self._started = int(time.time())

    async def models(self, _: Request) -> Response:
        """The one model that there is."""
        one = {"id": self._writer.name, "object": "model", "created": self._started}
        return json_response({"object": "list", "data": [one | {"owned_by": "safeft"}]})

    async def chat(self, request: Request) -> Response:
        """One answer, whole or as a stream."""
        return await self._answer(request, AskedChat, CHAT)

    async def completions(self, request: Request) -> Response:
        """What follows one text, whole or as a stream."""
        return await self._answer(request, AskedText, TEXT)

    async def _answer(self, request: Request, kind: type[Asked], shape: Shape) -> Response:
        asked = read_asked(kind, await request.body(), self._writer.name)
        wanted = asked.wanted
        try:
            ids = await asyncio.to_thread(self._writer.ids, wanted)
        except PromptError as error:
            long = isinstance(error, TooLongError)
            code = "context_length_exceeded" if long else f"bad_{kind.asks}"
            raise invalid(str(error), kind.asks, code) from error
        if not asked.stream:
            return await until_gone(request.receive, self._whole(shape, ids, wanted))
        events = self._events(shape, ids, wanted, asked.wants_usage)
        return StreamingResponse(events, media_type="text/event-stream")

    async def _pieces(self, ids: list[int], wanted: Wanted) -> AsyncGenerator[str | Written]:
        """The answer in pieces, then how it ended. Whoever stops reading stops the model."""
        loop, gone = asyncio.get_running_loop(), Event()
        queue: asyncio.Queue[str | None] = asyncio.Queue()

        def put(piece: str) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, piece)

        writing = loop.run_in_executor(self._thread, self._writer.write, ids, wanted, put, gone)
        writing.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (piece := await queue.get()) is not None:
                yield piece
            yield writing.result()
        finally:
            gone.set()
            writing.cancel()

    async def _whole(self, shape: Shape, ids: list[int], wanted: Wanted) -> Response:
        text, written = "", Written("stop", len(ids), 0)
        try:
            async with aclosing(self._pieces(ids, wanted)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Written):
                        written = piece
                    else:
                        text += piece
        except Exception as error:  # of the model, whatever it is
            _LOG.error("the model failed: %s: %s", type(error).__name__, first_line(error))
            return problem_response(_BROKEN)
        body = shape.envelope(self._writer.name, stream=False)
        choices = [shape.choice(0, text, written.finish)]
        spent = usage(written.read, written.tokens)
        return json_response(body | {"choices": choices, "usage": spent})

    async def _events(
        self, shape: Shape, ids: list[int], wanted: Wanted, wants_usage: bool
    ) -> AsyncIterator[bytes]:
        frame = shape.envelope(self._writer.name, stream=True)

        def chunk(words: str, finish: str | None = None, *, first: bool = False) -> bytes:
            choices = [shape.piece(0, words, finish, first=first)]
            return framed(write(frame | {"choices": choices}))

        if shape is CHAT:
            yield chunk("", first=True)  # who speaks, before a word is there
        try:
            async with aclosing(self._pieces(ids, wanted)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, str):
                        yield chunk(piece)
                        continue
                    yield chunk("", piece.finish)
                    if wants_usage:
                        spent = usage(piece.read, piece.tokens)
                        yield framed(write(frame | {"choices": [], "usage": spent}))
        except Exception as error:  # of the model, whatever it is
            _LOG.error("the model failed: %s: %s", type(error).__name__, first_line(error))
            yield framed(write(_BROKEN.body))
        yield DONE
