"""What is sent to clients: typed errors, JSON, and streams that notice when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from safeft.serve.problems import Problem, invalid
from safeft.serve.reading import UnreadableError, read_object, write
from safeft.serve.settings import Settings
from safeft.serve.streaming import Stream

_JSON = "application/json"
Result = TypeVar("Result")


def json_response(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A value, or bytes that are JSON already."""
    data = body if isinstance(body, bytes) else write(body).encode()
    return Response(data, status, dict(headers or {}), _JSON)


def problem_response(problem: Problem, *, close: bool = False) -> Response:
    """A typed error; `close` when the rest of its request will not be read."""
    headers = problem.headers | ({"connection": "close"} if close else {})
    return json_response(problem.body, problem.status, headers)


class StreamedResponse(StreamingResponse):
    """A stream that is given up, and its upstream with it, once the client has gone."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, headers: Mapping[str, str]) -> None:
        kept = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        self._stream, self._parts = stream, stream.parts()
        super().__init__(self._parts, headers={**headers, **kept})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole response, or as much of it as somebody reads."""
        try:
            await until_gone(receive, self._written(scope, send))
        finally:
            await self._stream.close()

    async def _written(self, scope: Scope, send: Send) -> None:
        async with aclosing(self._parts) as parts:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        scope["state"]["status"] = self._stream.status
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_gone(receive: Receive, work: Awaitable[Result]) -> Result:
    """What `work` gives. Raises ClientDisconnect, and gives it up, when the client has gone."""
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({worker, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not worker.done():
            raise ClientDisconnect
        return worker.result()
    finally:
        for one in (worker, watcher):
            one.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_request(request: Request, settings: Settings) -> tuple[dict[str, Any], bytes]:
    """The JSON object of a request, and its bytes. Raises Problem or ClientDisconnect."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON or request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "unsupported_media_type", f"the body must be plain {_JSON}")
    try:
        async with asyncio.timeout(settings.client_timeout):
            data = await _read(request, settings.max_body_bytes)
    except TimeoutError as error:
        raise Problem(408, "timeout", "the request took too long to come") from error
    try:
        return read_object(data), data
    except UnreadableError as error:
        raise invalid(f"the body is {error}", code="invalid_json") from error


async def _read(request: Request, limit: int) -> bytes:
    """The body. What is too long is still taken, up to a point, so that the client hears of it."""
    data, length = bytearray(), 0
    async for part in request.stream():
        length += len(part)
        if length <= limit:
            data += part
        elif length > 4 * limit:
            break
    if length > limit:
        raise Problem(413, "too_large", f"the body is longer than {limit} bytes")
    return bytes(data)
