"""Checks of many streams, put together into few calls of the judges."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace

from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision, failed
from safeft.guarding.policy import Stage, StageName
from safeft.records import Response
from safeft.serve.observer import Observer
from safeft.serve.settings import Settings

_LOG = logging.getLogger("safeft")


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that waits for its decision."""

    read: Response
    since: float
    decided: asyncio.Future[Decision]
    context: Context = field(default_factory=copy_context)  # whose request it belongs to, for spans


class Batcher:
    """One thread a stage: a slow judge of one stage holds up no other.

    A text waits at most `batch_wait` for others while the judge is idle, and otherwise until it is
    free; where no other can come, it does not wait. Who waits longer than the stage's timeout is
    told so: a failure, never a clearance.
    """

    def __init__(
        self,
        checker: Checker,
        settings: Settings,
        observer: Observer,
        alone: Callable[[], bool] = lambda: False,
    ) -> None:
        """`alone` says whether a single request is under way, which asks for all its checks of a
        stage at once.
        """
        self.checker, self.alone = checker, alone
        stages = checker.policy.stages
        self.threads = ThreadPoolExecutor(len(stages), thread_name_prefix="safeft-batch")
        self._lanes = {
            name: _Lane(name, stage, self, settings, observer) for name, stage in stages.items()
        }

    async def decide(self, name: StageName, texts: Sequence[Response]) -> list[Decision]:
        """One decision a text, in order. A stage that the policy leaves out clears everything."""
        lane = self._lanes.get(name)
        if lane is None:
            return [Decision(name) for _ in texts]
        return list(await asyncio.gather(*(lane.put(text) for text in texts)))

    def close(self) -> None:
        """Wait for nothing more."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.checker.close()


class _Lane:
    """The texts of one stage."""

    def __init__(
        self,
        name: StageName,
        stage: Stage,
        batcher: Batcher,
        settings: Settings,
        observer: Observer,
    ) -> None:
        self._name, self._stage, self._batcher = name, stage, batcher
        self._settings, self._observer = settings, observer
        self._waiting: deque[_Text] = deque()
        self._worker: asyncio.Task[None] | None = None

    def put(self, read: Response) -> asyncio.Future[Decision]:
        """The decision to come."""
        text = _Text(read, time.perf_counter(), asyncio.get_running_loop().create_future())
        if len(self._waiting) >= self._settings.max_waiting:
            self._settle(text, failed(self._name, self._stage, "overloaded"))
            return text.decided
        self._waiting.append(text)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return text.decided

    async def _work(self) -> None:
        try:
            if not self._batcher.alone():
                await asyncio.sleep(self._settings.batch_wait)
            while batch := self._batch():
                for text, decision in zip(batch, await self._decisions(batch), strict=True):
                    self._settle(text, decision)
        finally:
            self._worker = None

    def _batch(self) -> list[_Text]:
        """The oldest texts that somebody still waits for."""
        batch: list[_Text] = []
        while self._waiting and len(batch) < self._settings.max_batch:
            text = self._waiting.popleft()
            if text.decided.cancelled():
                continue
            if time.perf_counter() - text.since > self._stage.timeout:
                self._settle(text, failed(self._name, self._stage, "overloaded"))
            else:
                batch.append(text)
        return batch

    async def _decisions(self, batch: list[_Text]) -> list[Decision]:
        decide, texts = self._batcher.checker.decide, [one.read for one in batch]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._batcher.threads, decide, self._name, texts)
            if len(found) == len(texts):
                return found
            problem = "another number of decisions"
        except Exception as error:  # a bug: nothing is released for it
            problem = type(error).__name__
        _LOG.error("the checker itself failed at the %s: %s", self._name, problem)
        return [failed(self._name, self._stage, "failed") for _ in texts]

    def _settle(self, text: _Text, decision: Decision) -> None:
        decision = replace(decision, policy=self._batcher.checker.policy.name)
        if not text.decided.done():
            text.decided.set_result(decision)
        took = time.perf_counter() - text.since
        text.context.run(self._observer.decided, decision, took, text.read)
        if decision.escalated:
            text.context.run(self._observer.escalated, self._name)
