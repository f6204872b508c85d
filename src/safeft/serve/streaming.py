"""Streams: the upstream is read on while what it wrote is checked, and only cleared chunks leave.

    reader ──► Inflow: a track each choice ──► checks ──► release ──► client

The reader waits when too much is held, so that a slow judge or client slows the upstream down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

import httpx

from safeft.serve.ending import closing, withheld
from safeft.serve.exchange import Exchange, settle
from safeft.serve.inflow import Inflow
from safeft.serve.observer import Observer
from safeft.serve.problems import GUARD_FAILED, Problem, failed, malformed
from safeft.serve.reading import UnreadableError, write
from safeft.serve.settings import Settings
from safeft.serve.sse import DONE, KEEP_ALIVE, Events, framed
from safeft.serve.upstream import broken

_LOG = logging.getLogger("safeft")


class Stream:
    """One streamed answer: what `parts` yields is cleared, but for optimistic policies."""

    def __init__(
        self, exchange: Exchange, response: httpx.Response, settings: Settings, observer: Observer
    ) -> None:
        """`response` is the upstream's, unread; `parts` closes it."""
        self.exchange, self.response = exchange, response
        self.status = 200
        self._settings, self._observer = settings, observer
        self._sent = asyncio.get_running_loop().time()
        self._attempt = 0
        self._begin()

    def _begin(self) -> None:
        self.inflow = Inflow(self.exchange)
        self._problem: Problem | None = None
        self._read_out = False
        self._checking: asyncio.Task[None] | None = None
        self._changed, self._room = asyncio.Event(), asyncio.Event()

    async def parts(self) -> AsyncGenerator[bytes]:
        """Server-sent events, to the last one."""
        again = True
        try:
            while again:
                reader = asyncio.create_task(self._read())
                try:
                    while (out := await self._next()) is not None:
                        yield out
                finally:
                    await self._stop(reader)
                again = self._repeats and await self._ask_again()
            await self.close()  # before the last word: nobody listens to it any more
            yield self._end()
        finally:
            await self.close()

    async def close(self) -> None:
        """The upstream is not read any further, whether or not `parts` had begun."""
        await self.response.aclose()

    async def _next(self) -> bytes | None:
        """What may leave now; a comment when nothing may for long; None at the end."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._check()
            out = self._released()
            self._room.set()
            if out:
                self._sent = loop.time()
                return out
            if self._done():
                return None
            try:
                async with asyncio.timeout_at(self._sent + self._settings.keep_alive):
                    await self._changed.wait()
            except TimeoutError:
                self._sent = loop.time()
                return KEEP_ALIVE

    async def _read(self) -> None:
        """The upstream, to its end or to the first thing that is wrong with it."""
        try:
            await self._read_on()
        except httpx.HTTPError as error:
            self._fail(broken(error))
        except Problem as problem:
            self._fail(problem)
        except UnreadableError as error:
            self._fail(malformed(f"the stream cannot be checked: {error}"))
        except Exception as error:  # a bug: what is unchecked stays held
            _LOG.error("reading a stream failed: %s", type(error).__name__)
            self._fail(malformed("the stream cannot be checked"))
        finally:
            self._read_out = True
            self._changed.set()

    async def _read_on(self) -> None:
        events = Events(self._settings.max_pending_bytes)
        read = 0
        async for data in self.response.aiter_raw():
            read += len(data)
            if read > self._settings.max_answer_bytes:
                raise malformed("the answer is longer than max_answer_bytes")
            if any(map(self.inflow.take, events.feed(data))):
                return
            self._changed.set()
            while self.inflow.pending > self._settings.max_pending_bytes:
                self._room.clear()
                await self._room.wait()
        if any(map(self.inflow.take, events.end())):
            return
        if not self.inflow.complete:
            raise failed("the upstream ended in the middle of an answer")
        self.inflow.finish()

    def _check(self) -> None:
        """Starts a check of all that waits for one, unless one is under way."""
        if self._checking is None and self.inflow.checks:
            self._checking = asyncio.create_task(self._decide())

    async def _decide(self) -> None:
        checks, self.inflow.checks = self.inflow.checks, []
        try:
            await settle(self.exchange.guard, checks)
        except Exception as error:  # a bug: what is unchecked stays held
            _LOG.error("settling a stream failed: %s", type(error).__name__)
            self._fail(Problem(503, GUARD_FAILED, "the guard failed", kind="guard_error"))
        finally:
            self._checking = None
            self._changed.set()

    def _released(self) -> bytes:
        """The chunks that are cleared, and the ends of choices that were stopped."""
        out = [framed(data) for data in self.inflow.release()]
        if leaked := self.inflow.leaked():
            self._observer.leaked(leaked)
        if not self._repeats and self._failure is None:
            ends = [
                withheld(self.exchange, self.inflow, one) for one in self.inflow.newly_stopped()
            ]
            out += [framed(write(end)) for end in ends]
        return b"".join(out)

    def _done(self) -> bool:
        """Whether nothing more may leave."""
        if self._failure is not None or self.inflow.all_stopped:
            return True
        if self._checking is not None or self.inflow.checks:
            return False
        if not self._read_out and self.inflow.pending > self._settings.max_pending_bytes:
            self._fail(malformed("more than max_pending_bytes came that no check could end"))
        return self._read_out or self._problem is not None

    def _fail(self, problem: Problem) -> None:
        """The first thing that went wrong is what the client is told."""
        self._problem = self._problem or problem

    @property
    def _failure(self) -> Problem | None:
        return self.exchange.failure(self.inflow.tracks.values())

    @property
    def _repeats(self) -> bool:
        """Whether the only choice is to be asked for again, and nothing of it has left."""
        output = self.exchange.policy.output
        stopped = [one.stopped for one in self.inflow.tracks.values() if one.stopped]
        return (
            output is not None
            and self._attempt < output.regenerate
            and len(self.exchange.prompts) == 1
            and any(one.action == "regenerate" for one in stopped)
            and not self.inflow.spoke
        )

    async def _ask_again(self) -> bool:
        """Another answer in place of this one; False when the upstream gives none."""
        await self.close()
        self._attempt += 1
        exchange = self.exchange
        try:
            self.response = await exchange.upstream.open(
                "POST", exchange.shape.path, exchange.headers, exchange.sent(self._attempt)
            )
        except Problem as problem:
            self._begin()
            self._fail(problem)
            return False
        self._begin()
        return True

    def _end(self) -> bytes:
        """The last events."""
        problem = self._failure or self._problem
        if problem is None or (self.inflow.all_stopped and not self._failure):
            return closing(self.exchange, self.inflow)
        self.status = problem.status
        return framed(write(problem.body)) + DONE

    async def _stop(self, reader: asyncio.Task[None]) -> None:
        tasks = [one for one in (reader, self._checking) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
