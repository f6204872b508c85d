"""Holds the guard that requests are checked by, and changes it while they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from safeft.guarding.checker import Checker
from safeft.guarding.policy import Policy
from safeft.serve.batching import Batcher
from safeft.serve.observer import Observer
from safeft.serve.settings import Settings


class Guard:
    """A checker and its batches, as long as any request uses them."""

    def __init__(self, checker: Checker, settings: Settings, observer: Observer) -> None:
        self.users = 0
        self.batcher = Batcher(checker, settings, observer, alone=lambda: self.users < 2)
        self.decide = self.batcher.decide
        self.retired = False

    @property
    def policy(self) -> Policy:
        """What it checks by."""
        return self.batcher.checker.policy

    @property
    def judges(self) -> dict[str, str]:
        """Who reads each stage."""
        return {name: judge.name for name, judge in self.batcher.checker.judges.items()}


class Guardroom:
    """A request keeps the guard that it began with; the next one gets the new one."""

    def __init__(self, checker: Checker, settings: Settings, observer: Observer) -> None:
        """The room closes the checkers that it is given, each after its last request."""
        self._settings, self._observer = settings, observer
        self._lock = Lock()
        self._guard = Guard(checker, settings, observer)

    @property
    def policy(self) -> Policy:
        """What the next request is checked by."""
        return self._guard.policy

    def swap(self, checker: Checker) -> None:
        """Another policy or other judges, from the next request on. From any thread."""
        new = Guard(checker, self._settings, self._observer)
        with self._lock:
            old, self._guard = self._guard, new
        self._retire(old)

    @contextmanager
    def enter(self) -> Iterator[Guard]:
        """The present guard, for one request."""
        with self._lock:
            guard = self._guard
            guard.users += 1
        try:
            yield guard
        finally:
            with self._lock:
                guard.users -= 1
                last = guard.retired and guard.users == 0
            if last:
                guard.batcher.close()

    def close(self) -> None:
        """No more requests."""
        self._retire(self._guard)

    def _retire(self, guard: Guard) -> None:
        with self._lock:
            guard.retired = True
            last = guard.users == 0
        if last:
            guard.batcher.close()
