"""The one server behind this one. Nothing else is ever contacted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx

from safeft.errors import ConfigError
from safeft.serve.problems import Problem, failed, malformed
from safeft.serve.reading import UnreadableError, read_object
from safeft.serve.settings import Settings

_PASSED = ("openai-", "x-")
_PASSED_TOO = ("authorization", "api-key", "traceparent", "tracestate")
_KEYS = ("authorization", "api-key", "x-api-key")
# How other proxies are told another address, method or sender; none of them is meant here.
_NOT_PASSED = ("x-forwarded-", "x-original-", "x-rewrite-", "x-http-method", "x-method-", "x-real-")
_RETURNED = ("openai-", "x-ratelimit-")
_RETURNED_TOO = ("x-request-id", "retry-after")
_MOST_ERROR_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    body: bytes
    headers: dict[str, str]


class Upstream:
    """Asks it, and turns whatever else than an answer comes back into a Problem."""

    def __init__(
        self, url: str, settings: Settings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Raises ConfigError when the URL is none, or the key is not in the environment."""
        self.url = checked_url(url)
        self._settings = settings
        self._key = settings.upstream_key
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(
                settings.connect_timeout,
                connect=settings.connect_timeout,
                read=settings.read_timeout,
                write=settings.write_timeout,
            ),
            limits=httpx.Limits(
                max_connections=settings.max_streams + 8,
                max_keepalive_connections=settings.max_streams,
                keepalive_expiry=3.0,
            ),
            headers={"user-agent": "safeft", "accept-encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            cookies=CookieJar(
                DefaultCookiePolicy(allowed_domains=[])
            ),  # one client's are not all's
        )

    def forwarded(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
        """The headers of a request that are for the upstream; its key instead of ours."""
        given = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers
        ]
        ours = {"host", "content-length", "accept-encoding"}
        for name, value in given:
            if name == "connection":
                ours |= {one.strip().lower() for one in value.split(",")}
        if self._settings.keys or self._key:
            ours |= set(_KEYS)
        found = [(name, value) for name, value in given if name not in ours and _passes(name)]
        return found + ([("authorization", f"Bearer {self._key}")] if self._key else [])

    @asynccontextmanager
    async def opened(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """A good answer whose body has not been read; closed, and so cut off, at the end.

        Raises Problem.
        """
        response = await self.open(method, path, headers, body)
        try:
            yield response
        finally:
            await response.aclose()

    async def open(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes | None = None
    ) -> httpx.Response:
        """The same, for whoever closes it himself."""
        typed = [("content-type", "application/json")] if body is not None else []
        request = self._client.build_request(
            method, f"{self.url}{path}", headers=[*headers, *typed], content=body
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise broken(error) from error
        if response.status_code == 200 and "content-encoding" not in response.headers:
            return response
        try:
            raise await self._refused(response)
        finally:
            await response.aclose()

    async def ask(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes | None = None
    ) -> Reply:
        """A whole answer. Raises Problem."""
        async with self.opened(method, path, headers, body) as response:
            data = await _read(response, self._settings.max_answer_bytes)
            if data is None:
                raise malformed("the answer is longer than max_answer_bytes")
            return Reply(data, returned(response.headers))

    async def reachable(self) -> bool:
        """Whether it answers at all."""
        try:
            request = self._client.build_request(
                "GET", f"{self.url}/models", timeout=self._settings.connect_timeout
            )
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError:
            return False
        await response.aclose()
        return response.status_code < 500

    async def close(self) -> None:
        """No more requests."""
        await self._client.aclose()

    async def _refused(self, response: httpx.Response) -> Problem:
        """Its own error when it sent one, without what it sent beside it."""
        status = response.status_code
        if status == 200:
            return malformed("the answer is compressed, although identity was asked for")
        problem = failed(f"the upstream answered with status {status}", 502)
        if not 400 <= status < 600:
            return problem
        try:
            data = await _read(response, _MOST_ERROR_BYTES)
            error = read_object(data or b"").get("error")
        except (UnreadableError, Problem):
            error = None
        problem.status = status
        problem.headers = returned(response.headers)
        if isinstance(error, dict):
            problem.error = error
        return problem


def checked_url(url: str) -> str:
    """The address that paths such as /models are appended to. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"upstream {url!r}: not the URL of a server, such as http://host:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "the URL of an upstream holds a host and a path, and no user, key, query or fragment; "
            "put the key into the environment (upstream_key_variable)"
        )
    return url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"


def broken(error: httpx.HTTPError) -> Problem:
    """What a failed connection comes to."""
    if isinstance(error, httpx.PoolTimeout):
        return failed("too many requests to the upstream are under way", 503)
    if isinstance(error, httpx.TimeoutException):
        return failed(f"the upstream took too long ({type(error).__name__})", 504)
    return failed(f"the connection to the upstream failed ({type(error).__name__})")


def returned(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that are for the client."""
    return {
        name: value
        for name, value in headers.items()
        if name.startswith(_RETURNED) or name in _RETURNED_TOO
    }


def _passes(name: str) -> bool:
    return (name.startswith(_PASSED) and not name.startswith(_NOT_PASSED)) or name in _PASSED_TOO


async def _read(response: httpx.Response, limit: int) -> bytes | None:
    """The body; None when it is longer. Raises Problem."""
    data = bytearray()
    try:
        async for part in response.aiter_raw():
            data += part
            if len(data) > limit:
                return None
    except httpx.HTTPError as error:
        raise broken(error) from error
    return bytes(data)


def reply_object(data: bytes) -> dict[str, Any]:
    """The object of a whole answer. Raises Problem."""
    try:
        return read_object(data)
    except UnreadableError as error:
        raise malformed(f"the answer is {error}") from error
