"""Spans: a decision's lies below its request's, and holds no text unless that is asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from safeft import records
from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision, failed
from safeft.guarding.policy import STAGES, Policy, Stage
from safeft.serve import names
from safeft.serve.app import app
from safeft.serve.decisions import digest
from safeft.serve.settings import Settings
from safeft.serve.telemetry import Telemetry

ANSWER = records.Response(records.Prompt.of("May I ask?"), "A private answer.")
BLOCK = Decision("output", "block", True, "harm", 0.93, "encoder-guard", policy="p")


class Traced:
    """A telemetry and what it exported."""

    def __init__(self, **more: Any) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.telemetry = Telemetry(provider=provider, **more)

    def named(self, name: str) -> list[ReadableSpan]:
        """Finished spans of this name, in the order in which they ended."""
        return [one for one in self._exporter.get_finished_spans() if one.name == name]

    def guard(self) -> ReadableSpan:
        """The only decision's span."""
        (span,) = self.named(names.GUARD_SPAN)
        return span

    def ask(self, path: str, **headers: str) -> httpx.Response:
        """One request to an app that decides in a handler, in a thread, or while it streams."""
        return asyncio.run(self._asked(path, headers))

    async def _asked(self, path: str, headers: dict[str, str]) -> httpx.Response:
        own = (self.here, self.thread, self.stream, self.headers)
        routes = [Route(f"/{one.__name__}", one) for one in own]
        app = self.telemetry.traced(Starlette(routes=routes))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(path, headers=headers)

    async def here(self, _: Request) -> Response:
        self.telemetry.decided(BLOCK, 0.1, ANSWER)
        self.telemetry.leaked(5)
        self.telemetry.request("/here", 418, 0.2)
        return PlainTextResponse("no", 418)

    async def headers(self, request: Request) -> Response:
        return JSONResponse(dict(request.headers))

    async def thread(self, _: Request) -> Response:
        await asyncio.to_thread(self.telemetry.decided, BLOCK, 0.1, ANSWER)
        return PlainTextResponse("ok")

    async def stream(self, _: Request) -> Response:
        async def pieces() -> AsyncIterator[str]:
            for piece in "abc":
                self.telemetry.decided(BLOCK, 0.1, ANSWER)
                yield piece

        return StreamingResponse(pieces())


@pytest.mark.parametrize(("path", "decisions"), [("/here", 1), ("/thread", 1), ("/stream", 3)])
def test_decisions_lie_below_their_request(path: str, decisions: int) -> None:
    """Wherever in it they are made; the request ends last."""
    traced = Traced()
    traced.ask(path)
    (request,) = traced.named(names.REQUEST_SPAN)
    guards = traced.named(names.GUARD_SPAN)
    assert len(guards) == decisions and request.parent is None
    for one in guards:
        assert one.parent is not None and one.parent.span_id == request.context.span_id
        assert one.context.trace_id == request.context.trace_id
        assert one.end_time is not None and request.end_time is not None
        assert one.end_time <= request.end_time


def test_a_request_says_its_route_status_and_leaks() -> None:
    """And none of its headers."""
    traced = Traced()
    traced.ask("/here", authorization="Bearer private-key")
    (span,) = traced.named(names.REQUEST_SPAN)
    wanted = {names.ROUTE: "/here", names.STATUS: 418, names.METHOD: "GET"}
    assert span.attributes == wanted
    assert [(one.name, dict(one.attributes or {})) for one in span.events] == [
        (names.LEAKED_EVENT, {names.LEAKED_TOKENS: 5})
    ]


def test_the_clients_trace_goes_on() -> None:
    """W3C's traceparent, as every tracer sends it, and as an upstream gets it with the headers."""
    traced = Traced()
    answer = traced.ask("/headers", traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01", other="kept")
    (span,) = traced.named(names.REQUEST_SPAN)
    assert span.context.trace_id == int("ab" * 16, 16)
    assert span.parent is not None and span.parent.span_id == int("cd" * 8, 16)
    assert answer.json()["traceparent"] == f"00-{'ab' * 16}-{span.context.span_id:016x}-01"
    assert answer.json()["other"] == "kept"


class _Blocks:
    """A judge for which everything is harmful."""

    name, measures, categories = "j", "harm", ("harm",)

    def __call__(self, responses: Sequence[records.Response]) -> list[records.Verdict]:
        return self.requests([one.prompt for one in responses])

    def requests(self, prompts: Sequence[records.Prompt]) -> list[records.Verdict]:
        label = records.Label.FULFILLED
        return [records.Verdict(one.id, label, "j", {"harm": 1.0}) for one in prompts]


def test_decisions_of_requests_at_once_lie_below_their_own() -> None:
    """Although one call of the judge reads them all."""
    traced = Traced()
    policy = Policy(name="p", refusal="No.", input=Stage())
    checker = Checker(policy, {"input": _Blocks()})
    proxy = app("http://127.0.0.1:9/v1", checker, Settings(batch_wait=0.05), traced.telemetry)
    transport = httpx.ASGITransport(traced.telemetry.traced(proxy))
    words = ["one", "two", "three"]

    async def ask(place: int, word: str) -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.post(
                "/v1/chat/completions",
                json={"messages": [{"role": "user", "content": word}]},
                headers={"traceparent": f"00-{place + 1:032x}-{'cd' * 8}-01"},
            )

    async def asked() -> None:
        await asyncio.gather(*(ask(place, word) for place, word in enumerate(words)))

    asyncio.run(asked())
    found = {
        (one.attributes or {})[names.HASH]: one.context.trace_id
        for one in traced.named(names.GUARD_SPAN)
    }
    assert found == {f"sha256:{digest(word)}": n for n, word in enumerate(words, 1)}


def test_a_decision_says_what_was_enforced_and_why_and_not_on_what() -> None:
    """The text is there by its hash alone."""
    traced = Traced()
    traced.telemetry.decided(BLOCK, 0.1, ANSWER)
    assert traced.guard().attributes == {
        "gen_ai.operation.name": "run_guardrail",
        "gen_ai.security.target.type": "llm_output",
        "gen_ai.security.guardrail.name": "encoder-guard",
        "gen_ai.security.policy.name": "p",
        "gen_ai.security.action.type": "block",
        "gen_ai.security.risk.finding": "harm",
        "gen_ai.security.risk.score": 0.93,
        "gen_ai.security.content.input.hash": f"sha256:{digest(ANSWER.text)}",
        "safeft.guard.stage": "output",
        "safeft.guard.outcome": "block",
        "safeft.guard.escalated": False,
    }
    assert traced.guard().status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("stage", "said"), [("input", "May I ask?"), ("output", ANSWER.text)])
def test_the_text_is_there_when_asked_for(stage: Any, said: str) -> None:
    """What was decided about, at either stage."""
    traced = Traced(text=True)
    traced.telemetry.decided(Decision(stage, category="harm", score=0.1), 0.1, ANSWER)
    assert (traced.guard().attributes or {})["gen_ai.security.content.input.value"] == said


@pytest.mark.parametrize(
    ("how", "action", "outcome"), [("closed", "block", "error"), ("open", "allow", "bypass")]
)
def test_a_failure_of_the_guard_is_an_error_and_no_block(
    how: Any, action: str, outcome: str
) -> None:
    """What was enforced stands beside what it was for; there is no score to report."""
    traced = Traced()
    traced.telemetry.decided(failed("output", Stage(on_error=how), "timeout"), 10.0, ANSWER)
    span = traced.guard()
    found = span.attributes or {}
    assert (found[names.ACTION], found[names.OUTCOME]) == (action, outcome)
    assert found[names.ERROR] == "timeout" and names.SCORE not in found
    assert span.status.status_code is StatusCode.ERROR


def test_a_span_is_as_long_as_its_decision_took() -> None:
    """It is written afterwards, from a duration."""
    traced = Traced()
    traced.telemetry.decided(BLOCK, 0.25, ANSWER)
    span = traced.guard()
    assert span.end_time is not None and span.start_time is not None
    assert span.end_time - span.start_time == 250_000_000


def test_every_stage_and_outcome_has_a_name() -> None:
    """The convention's words for ours."""
    assert set(names.TARGETS) == set(STAGES)
    assert set(names.ACTIONS) == {"allow", "log", "modify", "block", "error", "bypass"}


@pytest.mark.parametrize("installed", [True, False])
def test_without_opentelemetry_there_is_nothing_to_trace_with(installed: bool) -> None:
    """The module can be imported, and says so."""
    block = "" if installed else "sys.modules['opentelemetry'] = None; "
    code = f"import sys; {block}from safeft.serve.telemetry import available; print(available())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{installed}\n"
