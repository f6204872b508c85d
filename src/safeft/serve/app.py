"""The application: every route that there is, and what each does."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from safeft.guarding.checker import Checker
from safeft.serve.answering import answer, withheld
from safeft.serve.checks import guardrail, moderations
from safeft.serve.door import MODELS, Door
from safeft.serve.ending import refused
from safeft.serve.exchange import Exchange, exchange
from safeft.serve.guardroom import Guard, Guardroom
from safeft.serve.moderation import strongest
from safeft.serve.observer import Careful, Observer, Silent
from safeft.serve.problems import Problem
from safeft.serve.responses import StreamedResponse, json_response, read_request, until_gone
from safeft.serve.settings import Settings
from safeft.serve.shapes import CHAT, TEXT, Shape
from safeft.serve.streaming import Stream
from safeft.serve.upstream import Upstream, reply_object, returned

POLICY_HEADER = "x-safeft-policy"
DECISION_HEADER = "x-safeft-decision"


def app(
    upstream_url: str,
    checker: Checker,
    settings: Settings | None = None,
    observer: Observer | None = None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Starlette:
    """The proxy. Its `state.guardroom` takes another checker; it closes those that it is given.

    `transport` reaches an upstream that is not on the network. Raises ConfigError for the URL and
    for a key that is not in the environment.
    """
    settings = settings or Settings()
    watched = Careful(observer or Silent())
    room = Guardroom(checker, settings, watched)
    service = Service(Upstream(upstream_url, settings, transport), settings, watched, room)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        room.close()
        await service.upstream.close()

    kinds = {route: answers for route, (_, answers) in service.routes.items()}
    door = Middleware(Door, routes=kinds, room=room, settings=settings, observer=watched)
    routes = [
        Route(path.replace("{id}", "{id:path}"), endpoint, methods=[method])
        for (method, path), (endpoint, _) in service.routes.items()
    ]
    made = Starlette(routes=routes, middleware=[door], lifespan=lifespan)
    made.router.redirect_slashes = False
    made.state.guardroom = room
    return made


Endpoint = Callable[[Request], Awaitable[Response]]


class Service:
    """The endpoints."""

    def __init__(
        self, upstream: Upstream, settings: Settings, observer: Observer, room: Guardroom
    ) -> None:
        self.upstream = upstream
        self._settings, self._observer, self._room = settings, observer, room

    @property
    def routes(self) -> dict[tuple[str, str], tuple[Endpoint, bool]]:
        """Every route, and whether it is an answer of the model."""
        return {
            ("POST", "/v1/chat/completions"): (self.chat, True),
            ("POST", "/v1/completions"): (self.completions, True),
            ("POST", "/v1/moderations"): (self.moderations, False),
            ("POST", "/beta/litellm_basic_guardrail_api"): (self.guardrail, False),
            ("GET", "/v1/models"): (self.models, False),
            ("GET", f"{MODELS}{{id}}"): (self.model, False),
            ("GET", "/health"): (self.health, False),
            ("GET", "/metrics"): (self.metrics, False),
        }

    async def chat(self, request: Request) -> Response:
        """A chat completion, whole or streamed."""
        return await self._answer(request, CHAT)

    async def completions(self, request: Request) -> Response:
        """A completion, whole or streamed."""
        return await self._answer(request, TEXT)

    async def _answer(self, request: Request, shape: Shape) -> Response:
        body, raw = await read_request(request, self._settings)
        headers = self.upstream.forwarded(request.scope["headers"])
        guard = _guard(request)
        asked = exchange(shape, body, raw, headers, guard, self.upstream, secrets.token_hex(8))
        return await until_gone(request.receive, self._guarded(asked))

    async def _guarded(self, asked: Exchange) -> Response:
        clear = await asked.check_input()
        if asked.streams:
            return await self._streamed(asked, clear=clear)
        if clear:
            reply, outcome = await answer(asked)
        else:
            reply, outcome = withheld(asked), strongest(asked.input)
        named = {**_named(asked), DECISION_HEADER: outcome}
        return json_response(reply.body, headers=reply.headers | named)

    async def _streamed(self, asked: Exchange, *, clear: bool) -> Response:
        named = _named(asked)
        if not clear:
            return Response(refused(asked), headers=named, media_type="text/event-stream")
        response = await self.upstream.open("POST", asked.shape.path, asked.headers, asked.raw)
        stream = Stream(asked, response, self._settings, self._observer)
        return StreamedResponse(stream, returned(response.headers) | named)

    async def moderations(self, request: Request) -> Response:
        """OpenAI's moderations, by the policy."""
        body, _ = await read_request(request, self._settings)
        return json_response(await moderations(body, _guard(request)))

    async def guardrail(self, request: Request) -> Response:
        """LiteLLM's generic guardrail call."""
        body, _ = await read_request(request, self._settings)
        return json_response(await guardrail(body, _guard(request)))

    async def models(self, request: Request) -> Response:
        """The upstream's models."""
        return json_response((await self._models(request))[0])

    async def model(self, request: Request) -> Response:
        """One of them, out of the list: no path of a client's making is asked for."""
        _, found = await self._models(request)
        name = request.path_params["id"]
        for one in found.get("data") or []:
            if isinstance(one, dict) and one.get("id") == name:
                return json_response(one)
        raise Problem(404, "model_not_found", "the upstream has no such model", param="model")

    async def _models(self, request: Request) -> tuple[bytes, dict[str, Any]]:
        headers = self.upstream.forwarded(request.scope["headers"])
        reply = await self.upstream.ask("GET", "/models", headers)
        return reply.body, reply_object(reply.body)

    async def health(self, request: Request) -> Response:
        """Whether the upstream answers, and who guards."""
        guard = _guard(request)
        reachable = await self.upstream.reachable()
        body = {
            "status": "ok" if reachable else "degraded",
            "upstream": "reachable" if reachable else "unreachable",
            "policy": guard.policy.name,
            "judges": guard.judges,
        }
        return json_response(body, 200 if reachable else 503)

    async def metrics(self, request: Request) -> Response:
        """What the observer has counted."""
        body, kind = self._observer.metrics()
        return Response(body, headers={"content-type": kind})


def _named(asked: Exchange) -> dict[str, str]:
    """The policy's name, as far as a header may hold it."""
    return {POLICY_HEADER: quote(asked.policy.name)}


def _guard(request: Request) -> Guard:
    """The guard that this request began with."""
    guard: Guard = request.scope["state"]["guard"]
    return guard
