"""Workers: single-threaded processes side by side; small models use them better than threads."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import cycle, islice
from logging import ERROR, getLogger
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from multiprocessing.queues import SimpleQueue
from threading import RLock, Thread
from typing import TypeVar

from safeft.errors import SafeftError

# On Linux one process imports what all workers need, and they fork from it: in a moment, and what
# they share is in memory once. Elsewhere what the system's libraries begin cannot be forked.
_FORKING = sys.platform == "linux"
_IMPORTED = ["safeft.comparison.preloaded"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def default_workers() -> int:
    """One worker an accelerator, or one a core that this process may use."""
    import torch

    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


class Workers:
    """Processes for tasks. What they import takes seconds, so that begins before the first task.

    Whoever runs tasks gets processes of its own, since what a task leaves in memory must not stay
    while an engine starts.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun: _Pool | None = None

    def __enter__(self) -> Workers:
        if self._count > 1 and _FORKING:
            forkserver.set_forkserver_preload(_IMPORTED)
            with _deaf_to_interrupts():
                forkserver.ensure_running()
        return self

    def __exit__(self, *error: object) -> None:
        if self._begun is not None:
            self._begun.end()

    def call(self, function: Callable[[Task], Result], task: Task) -> Result:
        """What a function says, in a worker for what comes next; here when there are none."""
        if self._count < 2:
            return function(task)
        self._begun = self._begun or _Pool(self._count)
        with _said_when_dead():
            (asked,) = self._begun.begin(function, [task])
            return asked.result()

    def run_all(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], count: int
    ) -> Iterator[Result]:
        """Results as they complete. The first failure stops what has not started and is raised."""
        if count == 1 or not tasks:
            yield from map(function, tasks)
            return
        pool = self._taken() if count == self._count else _Pool(count)
        try:
            with _said_when_dead():
                for one in as_completed(pool.begin(function, tasks)):
                    yield one.result()
        finally:
            pool.end()

    def _taken(self) -> _Pool:
        begun, self._begun = self._begun, None
        return begun or _Pool(self._count)


@contextmanager
def _said_when_dead() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise SafeftError(
            "a worker process died (out of memory?); run the same command again to resume, "
            "with fewer workers if it happens again"
        ) from error


class _Pool(ProcessPoolExecutor):
    """Processes, each with an accelerator of its own where there are as many."""

    def __init__(self, count: int) -> None:
        context = get_context("forkserver" if _FORKING else "spawn")
        places = context.SimpleQueue()
        for place in _dealt(count) or [""] * count:
            places.put(place)
        super().__init__(count, mp_context=context, initializer=_alone, initargs=(places,))

    def begin(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> list[Future[Result]]:
        """Submits every task."""
        with _deaf_to_interrupts():
            return [self.submit(function, task) for task in tasks]

    def end(self) -> None:
        """At once: whoever was interrupted must not wait, whoever is done says no goodbyes."""
        for process in list((self._processes or {}).values()):
            process.terminate()
        self.shutdown(cancel_futures=True)


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
    # Its own start would let interrupts through again (Python 3.11), in the middle of this.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _alone(places: SimpleQueue[str]) -> None:
    """One thread, and one accelerator where there are any: TRL would spread over all it sees."""
    Thread(target=_end_with_parent, daemon=True).start()
    # The terminal belongs to the parent, which says which cell is done. By the environment, since
    # importing datasets takes half a second that an evaluation does not need.
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

    import torch  # which looks for accelerators when it is first asked, and not before

    if place := places.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = place
    torch.set_num_threads(1)

    from tqdm import tqdm  # type: ignore[import-untyped]
    from transformers.utils import logging

    # Its own lock is a semaphore of the system, which a terminated worker would leave behind.
    tqdm.set_lock(RLock())
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    getLogger("bitsandbytes").setLevel(ERROR)


def _end_with_parent() -> None:
    """A killed parent stops nobody: a worker that lived on would hold cells that a rerun needs."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
