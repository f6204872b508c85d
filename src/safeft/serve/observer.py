"""Who is told what the server does: metrics, traces and decision logs implement this."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from safeft.guarding.decision import Decision
from safeft.guarding.policy import StageName
from safeft.records import Response

_LOG = logging.getLogger("safeft")


class Observer(Protocol):
    """Called from the server's event loop, so it must not wait."""

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        """One text was decided about, this long after it was to be checked."""

    def escalated(self, stage: StageName) -> None:
        """A second judge was asked."""

    def leaked(self, tokens: int) -> None:
        """So many tokens had left before they were held back: optimistic mode alone."""

    def active(self, change: int) -> None:
        """A request came (1) or ended (-1)."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request ended; 499 when its client left before."""

    def metrics(self) -> tuple[bytes, str]:
        """The body of `/metrics` and its content type."""


class Silent:
    """Tells nobody."""

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        """Nothing."""

    def escalated(self, stage: StageName) -> None:
        """Nothing."""

    def leaked(self, tokens: int) -> None:
        """Nothing."""

    def active(self, change: int) -> None:
        """Nothing."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """Nothing."""

    def metrics(self) -> tuple[bytes, str]:
        """No metrics."""
        return b"", "text/plain; version=0.0.4; charset=utf-8"


class Careful:
    """Tells an observer, whose own failure stops neither an answer nor its guard."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._fails = False

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        """As the observer's."""
        self._tell(self._observer.decided, decision, seconds, text)

    def escalated(self, stage: StageName) -> None:
        """As the observer's."""
        self._tell(self._observer.escalated, stage)

    def leaked(self, tokens: int) -> None:
        """As the observer's."""
        self._tell(self._observer.leaked, tokens)

    def active(self, change: int) -> None:
        """As the observer's."""
        self._tell(self._observer.active, change)

    def request(self, route: str, status: int, seconds: float) -> None:
        """As the observer's."""
        self._tell(self._observer.request, route, status, seconds)

    def metrics(self) -> tuple[bytes, str]:
        """As the observer's."""
        return self._observer.metrics()

    def _tell(self, told: Callable[..., None], *what: object) -> None:
        try:
            told(*what)
            self._fails = False
        except Exception as error:  # of any observer: none may stop a request
            if not self._fails:  # once, and not for every window while a disk is full
                _LOG.error("an observer failed: %s", type(error).__name__)
            self._fails = True
