"""Answers that leave while they are written: window k is read while window k + 1 grows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision
from safeft.guarding.gate import Gate
from safeft.guarding.policy import Stage
from safeft.guarding.releasing import Watch, requested
from safeft.guarding.windows import Window
from safeft.records import Prompt, Response


class Checks:
    """The gate of one answer, and a thread of its own that decides on each window in turn."""

    def __init__(self, checker: Checker, prompt: Prompt, watch: Watch | None = None) -> None:
        policy = checker.policy
        # Where no answers are read, they need not wait for anybody either.
        free = policy.streaming == "optimistic" or policy.output is None
        self.gate = Gate(policy.output or Stage(), policy.redaction, optimistic=free)
        self._checker, self._prompt = checker, prompt
        self._watch = watch if policy.output is not None else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="safeft-checks")
        self._asked: deque[tuple[list[Window], Future[list[Decision]]]] = deque()

    def feed(self, text: str) -> None:
        """More of the answer; what windows it completes are read elsewhere."""
        self._ask(self.gate.feed(text))

    def end(self) -> None:
        """Nothing more comes."""
        self._ask(self.gate.end())

    def settle(self, *, wait: bool = False) -> None:
        """Let the gate know what is decided by now, or, if asked to wait, all of it."""
        while self._asked and self.gate.stopped is None and (wait or self._asked[0][1].done()):
            windows, found = self._asked.popleft()
            for window, decision in zip(windows, found.result(), strict=True):
                if self._watch is not None and self.gate.stopped is None:
                    self._watch(decision, self._text(window))
                self.gate.settle(decision)

    def close(self) -> None:
        """Read nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self, windows: list[Window]) -> None:
        if windows:
            texts = [self._text(one) for one in windows]
            self._asked.append((windows, self._thread.submit(self._decide, texts)))

    def _decide(self, texts: list[Response]) -> list[Decision]:
        return self._checker.decide("output", texts)

    def _text(self, window: Window) -> Response:
        return Response(self._prompt, window.read)


Source = Callable[[int], Iterator[str]]
"""An answer in pieces; 0 asks for the first one, k for another in place of k that were held."""


class GuardedStream:
    """What leaves of one answer, in pieces; iterate with `for` or `async for`.

    Once it has ended, `decision` is what stopped it: None when everything had left, and one whose
    `error` is set when no judge could tell. The policy's refusal is the only piece of an answer of
    which nothing had left before. `leaked` counts, in the optimistic mode, the tokens that had
    left of what was then held back. Raises what the source of the pieces raises.
    """

    def __init__(
        self,
        checker: Checker,
        prompt: Prompt,
        source: Source,
        *,
        regenerate: int = 0,
        watch: Watch | None = None,
    ) -> None:
        """`source` is asked up to `regenerate` times again while nothing has left."""
        self.decision: Decision | None = None
        self.leaked = 0
        self._checker, self._prompt, self._source = checker, prompt, source
        self._regenerate, self._watch = regenerate, watch
        self._left = self._closed = False
        self._pieces = self._run()

    def __iter__(self) -> Iterator[str]:
        """Itself."""
        return self

    def __next__(self) -> str:
        """The next piece that may leave."""
        return next(self._pieces)

    def __aiter__(self) -> AsyncIterator[str]:
        """Itself."""
        return self

    async def __anext__(self) -> str:
        """The next piece that may leave, waited for in a thread."""
        piece = await asyncio.to_thread(next, self, None)
        if piece is None:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        """End it, and the generation behind it; soon, when a thread is waiting for a piece."""
        self._closed = True
        try:
            self._pieces.close()
        except ValueError:  # a thread is in there, and will see that it is closed
            return

    async def aclose(self) -> None:
        """The same."""
        await asyncio.to_thread(self.close)

    def _run(self) -> Generator[str, None, None]:
        refusal = self._checker.policy.refusal
        (request,) = requested(self._checker, [self._prompt], self._watch)
        if not request.clears:
            self.decision = request
            yield refusal
            return
        for attempt in range(self._regenerate + 1):
            yield from self._attempt(self._source(attempt))
            again = self.decision is not None and self.decision.action == "regenerate"
            if self._left or self._closed or not again:
                break
        if self.decision is not None and not self._left:
            yield refusal

    def _attempt(self, pieces: Iterator[str]) -> Iterator[str]:
        """One answer, as far as it is cleared; `decision` says what stopped it."""
        checks, self.decision, at = Checks(self._checker, self._prompt, self._watch), None, 0
        try:
            for piece in pieces:
                checks.feed(piece)
                # What is free to leave at once does, before it may be decided otherwise.
                at = yield from self._leaving(checks.gate, at)
                checks.settle()
                at = yield from self._leaving(checks.gate, at)
                if self._closed or checks.gate.stopped is not None:
                    break
            else:
                checks.end()
            if not self._closed:
                checks.settle(wait=True)
                yield from self._leaving(checks.gate, at)
        finally:
            checks.close()
            if close := getattr(pieces, "close", None):
                close()
            self.decision = checks.gate.stopped
            self.leaked += checks.gate.leaked

    def _leaving(self, gate: Gate, at: int) -> Generator[str, None, int]:
        """What may leave from `at` on; returns up to where it has left."""
        text = gate.render(at, gate.cleared)
        if text:
            self._left = True
            yield text
        return max(at, gate.cleared)
