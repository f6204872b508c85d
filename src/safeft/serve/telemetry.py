"""Traces: a span for each request, and below it one for each decision of the guard.

Without a provider that the process has set up (`opentelemetry-instrument safeft serve …` does),
OpenTelemetry's own interface does nothing, and so does this.
"""

from __future__ import annotations

import importlib.util
import math
import time
from typing import TYPE_CHECKING, Any

from safeft.guarding.decision import Decision
from safeft.records import Response
from safeft.serve import names
from safeft.serve.decisions import digest, subject
from safeft.serve.observer import Silent

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def available() -> bool:
    """Whether there is something to trace with."""
    try:
        return importlib.util.find_spec("opentelemetry.trace") is not None
    except ModuleNotFoundError:
        return False


class Telemetry(Silent):
    """An observer whose spans lie below that of the request, where `traced` has begun one."""

    def __init__(self, *, text: bool = False, provider: Any = None) -> None:
        """`text` also writes what was read, word by word.

        `provider` makes the tracer, in place of the process's own.
        """
        from opentelemetry import trace

        self._trace, self._text = trace, text
        self._tracer = trace.get_tracer(names.TRACER, tracer_provider=provider)

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        """A span that ends now and began when the judge was asked."""
        end = time.time_ns()
        span = self._tracer.start_span(
            names.GUARD_SPAN,
            attributes=self._attributes(decision, subject(decision.stage, text)),
            start_time=end - int(seconds * 1e9),
        )
        if decision.error:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, decision.error))
        span.end(end)

    def _attributes(self, decision: Decision, said: str) -> dict[str, str | float | bool]:
        found: dict[str, str | float | bool] = {
            names.OPERATION: names.RUN_GUARDRAIL,
            names.TARGET: names.TARGETS[decision.stage],
            names.GUARDRAIL: decision.judge,
            names.POLICY: decision.policy,
            names.ACTION: names.ACTIONS[decision.outcome],
            names.FINDING: decision.category,
            names.HASH: f"sha256:{digest(said)}",
            names.STAGE: decision.stage,
            names.OUTCOME: decision.outcome,
            names.ESCALATED: decision.escalated,
        }
        if not math.isnan(decision.score):
            found[names.SCORE] = decision.score
        if decision.error:
            found[names.ERROR] = decision.error
        return found | ({names.TEXT: said} if self._text else {})

    def leaked(self, tokens: int) -> None:
        """An event in the request's span."""
        span = self._trace.get_current_span()
        span.add_event(names.LEAKED_EVENT, {names.LEAKED_TOKENS: tokens})

    def request(self, route: str, status: int, seconds: float) -> None:
        """The route and the status in the request's span."""
        self._trace.get_current_span().set_attributes({names.ROUTE: route, names.STATUS: status})

    def traced(self, app: ASGIApp) -> ASGIApp:
        """The app with a span around each request.

        It goes on with a trace that the client sent, and gives it on to whom the app passes its
        headers.
        """
        from opentelemetry.propagate import extract, get_global_textmap, inject

        async def begun(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            with self._tracer.start_as_current_span(
                names.REQUEST_SPAN,
                context=extract(headers),
                kind=self._trace.SpanKind.SERVER,
                attributes={names.METHOD: scope["method"]},
            ):
                ours: dict[str, str] = {}
                inject(ours)
                theirs = {one.encode() for one in get_global_textmap().fields}
                kept = [(name, value) for name, value in scope["headers"] if name not in theirs]
                sent = [(name.encode(), value.encode("latin-1")) for name, value in ours.items()]
                return await app({**scope, "headers": kept + sent}, receive, send)

        return begun
