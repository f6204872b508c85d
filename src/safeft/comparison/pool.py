"""Workers: single-threaded processes side by side; small models use them better than threads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import cycle, islice
from logging import ERROR, getLogger
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from threading import RLock, Thread
from typing import TypeVar

from safeft.errors import SafeftError

Task = TypeVar("Task")
Result = TypeVar("Result")


def default_workers() -> int:
    """One worker an accelerator, or one a core that this process may use."""
    import torch

    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


class Workers:
    """Processes for tasks; their imports take seconds, so some begin before the first tasks do.

    Whoever first runs tasks with as many workers gets those; later ones get processes of their own,
    since what a task leaves in memory must not stay while an engine starts.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self._count > 1:
            self._begun = _pool(self._count)
            with _deaf_to_interrupts():
                for _ in range(self._count):
                    self._begun.submit(_import)
        return self

    def __exit__(self, *error: object) -> None:
        if self._begun is not None:
            _end(self._begun)

    def call(self, function: Callable[[Task], Result], task: Task) -> Result:
        """What a function says, in a worker that begins anyway; here when none does."""
        if self._begun is None:
            return function(task)
        with _said_when_dead():
            return self._begun.submit(function, task).result()

    def run_all(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], count: int
    ) -> Iterator[Result]:
        """Results as they complete. The first failure stops what has not started and is raised."""
        if count == 1 or not tasks:
            yield from map(function, tasks)
            return
        pool = self._taken() if count == self._count else _pool(count)
        try:
            with _said_when_dead():
                with _deaf_to_interrupts():
                    futures = [pool.submit(function, task) for task in tasks]
                for one in as_completed(futures):
                    yield one.result()
        finally:
            _end(pool)

    def _taken(self) -> ProcessPoolExecutor:
        begun, self._begun = self._begun, None
        return begun or _pool(self._count)


@contextmanager
def _said_when_dead() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise SafeftError(
            "a worker process died (out of memory?); run the same command again to resume, "
            "with fewer workers if it happens again"
        ) from error


def _pool(count: int) -> ProcessPoolExecutor:
    context = get_context("spawn")
    places = context.SimpleQueue()
    for place in _dealt(count):
        places.put(place)
    return ProcessPoolExecutor(count, mp_context=context, initializer=_alone, initargs=(places,))


def _end(pool: ProcessPoolExecutor) -> None:
    """At once: an interrupted run must not wait for what nobody wants, a done one for goodbyes."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(cancel_futures=True)


def _dealt(workers: int) -> list[str]:
    """An accelerator for each worker, of those that this process may use; empty without any."""
    import torch

    count = torch.cuda.device_count()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = chosen.split(",") if chosen else list(map(str, range(count)))
    return list(islice(cycle(names[:count]), workers))


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that start in here never hear Ctrl-C; the parent does, once this is over.

    Each of them would print a traceback of its own, from its first import on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _alone(places: SimpleQueue[str]) -> None:
    """One thread, and one accelerator where there are any: TRL would spread over all it sees."""
    if not places.empty():
        os.environ["CUDA_VISIBLE_DEVICES"] = places.get()
    Thread(target=_end_with_parent, daemon=True).start()

    import torch
    from datasets import disable_progress_bars
    from tqdm import tqdm  # type: ignore[import-untyped]
    from transformers.utils import logging

    torch.set_num_threads(1)
    # Its own lock is a semaphore of the system, which a terminated worker would leave behind.
    tqdm.set_lock(RLock())
    # The terminal belongs to the parent, which says which cell is done.
    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    getLogger("bitsandbytes").setLevel(ERROR)


def _import() -> None:
    """What every task imports first, which takes seconds."""
    from transformers import AutoModelForCausalLM

    del AutoModelForCausalLM


def _end_with_parent() -> None:
    """A killed parent stops nobody: a worker that lived on would hold cells that a rerun needs."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
