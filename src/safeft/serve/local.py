"""A small OpenAI-compatible server over one local model, for a machine without another server.

It is what the guarded proxy asks when `safeft serve` is given a model in place of an upstream.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from threading import Event
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from safeft.errors import PromptError, TooLongError, first_line
from safeft.records import Message
from safeft.serve.generating import Wanted, Writer, Written
from safeft.serve.problems import Problem, invalid
from safeft.serve.reading import write
from safeft.serve.responses import json_response, problem_response, until_gone
from safeft.serve.sse import DONE, framed

_LOG = logging.getLogger("safeft")
GONE = 499
"""The status of an answer that nobody waits for any more."""


def _text(content: object) -> object:
    """The words of a message, which some clients send in parts."""
    if not isinstance(content, list):
        return "" if content is None else content
    parts = [one.get("text") if isinstance(one, dict) else None for one in content]
    if not all(isinstance(one, str) for one in parts):
        raise ValueError("only parts of type text can be read")
    return "".join(str(one) for one in parts)


class _Turn(BaseModel):
    role: str
    content: Annotated[str, BeforeValidator(_text)] = ""


class _StreamOptions(BaseModel):
    include_usage: bool = False


class Asked(BaseModel):
    """A request's fields that are honoured; all others are ignored."""

    messages: list[_Turn] = Field(min_length=1)
    model: str | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1, le=1)

    @property
    def wanted(self) -> Wanted:
        """What the model is to write."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Wanted(
            tuple(Message(one.role, one.content) for one in self.messages),
            self.temperature,
            self.top_p,
            self.max_completion_tokens or self.max_tokens,
            self.seed,
            tuple(stop),
        )


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
        asked = _asked(await request.body(), self._writer.name)
        wanted = asked.wanted
        try:
            ids = await asyncio.to_thread(self._writer.ids, wanted)
        except PromptError as error:
            code = "context_length_exceeded" if isinstance(error, TooLongError) else "bad_messages"
            raise invalid(str(error), "messages", code) from error
        if not asked.stream:
            return await until_gone(request.receive, self._whole(ids, wanted))
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return StreamingResponse(self._events(ids, wanted, usage), media_type="text/event-stream")

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

    async def _whole(self, ids: list[int], wanted: Wanted) -> Response:
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
        message = {"role": "assistant", "content": text}
        choice = {"message": message, "finish_reason": written.finish, "logprobs": None}
        body = self._frame("chat.completion", [{"index": 0} | choice])
        return json_response(body | {"usage": _usage(written)})

    async def _events(self, ids: list[int], wanted: Wanted, usage: bool) -> AsyncIterator[bytes]:
        frame = self._frame("chat.completion.chunk", [])

        def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            return framed(write(frame | {"choices": [choice]}))

        yield chunk({"role": "assistant", "content": ""})
        try:
            async with aclosing(self._pieces(ids, wanted)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, str):
                        yield chunk({"content": piece})
                        continue
                    yield chunk({}, piece.finish)
                    if usage:
                        yield framed(write(frame | {"usage": _usage(piece)}))
        except Exception as error:  # of the model, whatever it is
            _LOG.error("the model failed: %s: %s", type(error).__name__, first_line(error))
            yield framed(write(_BROKEN.body))
        yield DONE

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self._writer.name,
            "choices": choices,
        }


def _asked(body: bytes, name: str) -> Asked:
    """The request in a body; raises Problem when it is none, or is for another model."""
    try:
        asked = Asked.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(one) for one in first["loc"])
        said = f"{field}: {first['msg']}" if field else first["msg"]
        raise invalid(said, field or None, "invalid_value") from error
    if asked.model not in (None, name):
        said = f"no model {asked.model!r} here; this server has {name!r}"
        raise Problem(404, "model_not_found", said, param="model")
    return asked


def _usage(written: Written) -> dict[str, int]:
    return {
        "prompt_tokens": written.read,
        "completion_tokens": written.tokens,
        "total_tokens": written.read + written.tokens,
    }
