"""The door: which paths there are, who may come in, how many at once, and who came."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safeft.serve.guardroom import Guardroom
from safeft.serve.observer import Observer
from safeft.serve.problems import Problem
from safeft.serve.responses import problem_response
from safeft.serve.settings import Settings

_LOG = logging.getLogger("safeft")
MODELS = "/v1/models/"
LEFT = 499


class Door:
    """Around the application: what it does not let in is not seen by any route.

    A path is compared as it was sent: no slash more, none encoded.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Mapping[tuple[str, str], bool],
        room: Guardroom,
        settings: Settings,
        observer: Observer,
    ) -> None:
        """`routes` has the methods and paths that there are, and whether each is an answer."""
        self._app, self._routes, self._room = app, routes, room
        self._settings, self._observer = settings, observer
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its coming to its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(send)
        route = self._route(scope)
        start = time.perf_counter()
        self._observer.active(1)
        try:
            with self._room.enter() as guard:
                scope.setdefault("state", {})["guard"] = guard
                await self._let_in(route, scope, receive, visit)
        finally:
            self._observer.active(-1)
            status = scope["state"].get("status", visit.status) if visit.complete else LEFT
            label = "other" if route is None else route[1]
            self._observer.request(label, status, time.perf_counter() - start)

    async def _let_in(
        self, route: tuple[str, str] | None, scope: Scope, receive: Receive, visit: _Visit
    ) -> None:
        answers = route is not None and self._routes[route]
        if refusal := self._problem(route, scope, answers=answers):
            await problem_response(refusal, close=True)(scope, receive, visit.send)
            return
        self._under_way += answers
        try:
            await self._app(scope, receive, visit.send)
        except ClientDisconnect:
            pass
        except Problem as problem:
            close = problem.status in (408, 413)
            await problem_response(problem, close=close)(scope, receive, visit.send)
        except Exception as error:  # a bug: the client reads a typed error
            # Its name alone: what it says may quote a text or a key.
            _LOG.error("a request failed: %s", type(error).__name__)
            if not visit.status:
                fault = Problem(500, "internal_error", "the guardrail itself failed")
                await problem_response(fault, close=True)(scope, receive, visit.send)
        finally:
            self._under_way -= answers

    def _route(self, scope: Scope) -> tuple[str, str] | None:
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        if path.startswith(MODELS) and path != MODELS:
            path = f"{MODELS}{{id}}"
        route = (scope["method"], path)
        return route if route in self._routes else None

    def _problem(
        self, route: tuple[str, str] | None, scope: Scope, *, answers: bool
    ) -> Problem | None:
        """Why a request is not let in."""
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > self._settings.max_header_bytes:
            return Problem(431, "headers_too_large", "the headers are too long")
        if route != ("GET", "/health") and not self._knows(scope["headers"]):
            return Problem(401, "invalid_api_key", "no such key", param="authorization")
        if route is None:
            return Problem(404, "not_found", f"there is no {scope['method']} {scope['path']}")
        if answers and self._under_way >= self._settings.max_streams:
            return Problem(429, "too_many_streams", "too many answers are under way; ask again")
        return None

    def _knows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request brings one of the server's own keys, where it has any."""
        if not self._settings.keys:
            return True
        given = {name.lower(): value.decode("latin-1") for name, value in headers}
        scheme, _, key = given.get(b"authorization", "").partition(" ")
        bearer = key.strip() if scheme.lower() == "bearer" else ""
        return self._settings.admits(bearer or given.get(b"x-api-key", ""))


class _Visit:
    """What has been sent of a response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.complete = False

    async def send(self, message: Message) -> Any:
        """Passes it on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        await self._send(message)
