"""Workers: single-threaded processes side by side; small models use them better than threads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import cycle, islice
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


def run_all(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result]:
    """Results as they complete. The first failure stops what has not started and is raised."""
    if workers == 1 or not tasks:
        yield from map(function, tasks)
        return
    context = get_context("spawn")
    places = context.SimpleQueue()
    for place in _dealt(workers):
        places.put(place)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_alone, initargs=(places,))
    try:
        with _deaf_to_interrupts():
            futures = [pool.submit(function, task) for task in tasks]
        for one in as_completed(futures):
            yield one.result()
    except BrokenProcessPool as error:
        raise SafeftError(
            "a worker process died (out of memory?); run the same command again to resume, with "
            "fewer workers if it happens again"
        ) from error
    except BaseException:
        # An interrupted run must not wait for trainings that nobody wants any more.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
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


def _end_with_parent() -> None:
    """A killed parent stops nobody: a worker that lived on would hold cells that a rerun needs."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
