"""Several observers as one. What fails in one of them stops neither the others nor a request."""

from __future__ import annotations

from collections.abc import Sequence

from safeft.guarding.decision import Decision
from safeft.guarding.policy import StageName
from safeft.records import Response
from safeft.serve.observer import Careful, Observer, Silent


class Together:
    """Tells each observer everything, in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = [Careful(one) for one in observers]

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        """A decision, how long it took, and what it was about."""
        for one in self._observers:
            one.decided(decision, seconds, text)

    def escalated(self, stage: StageName) -> None:
        """A second judge read a text of this stage."""
        for one in self._observers:
            one.escalated(stage)

    def leaked(self, tokens: int) -> None:
        """So many tokens had left of what was then held back."""
        for one in self._observers:
            one.leaked(tokens)

    def active(self, change: int) -> None:
        """A request came (1) or ended (-1)."""
        for one in self._observers:
            one.active(change)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request has ended."""
        for one in self._observers:
            one.request(route, status, seconds)

    def metrics(self) -> tuple[bytes, str]:
        """What the first observer that counts has counted."""
        counted = [one.metrics() for one in self._observers]
        return next((found for found in counted if found[0]), Silent().metrics())
