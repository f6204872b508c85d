"""The gate: holds a growing text back until each window of it is decided. Knows no I/O.

    feed / end ──► windows to check ──► settle(decision), in order ──► `render` what may leave

Checked, the next window grows while the last one is read, and nothing leaves before its decision.
Optimistic, everything leaves at once, and `leaked` counts what had left of a window that was then
held back.
"""

from __future__ import annotations

from collections import deque

from safeft.guarding.decision import Decision
from safeft.guarding.growing import Growing
from safeft.guarding.policy import Stage
from safeft.guarding.windows import Window, Windows, tokens


class Gate:
    """One text on its way out: an answer, a reasoning, or the arguments of a tool call."""

    def __init__(
        self, stage: Stage, redaction: str = "[removed]", *, optimistic: bool = False
    ) -> None:
        self.text = Growing()
        """All that was fed, cleared or not."""
        self._windows = Windows(stage.window, stage.first_window, stage.overlap)
        self._waiting: deque[Window] = deque()
        self._redaction, self._optimistic = redaction, optimistic
        self._redacted: list[Window] = []
        self._settled = 0
        self.stopped: Decision | None = None
        self.leaked = 0

    def feed(self, text: str) -> list[Window]:
        """More of the text; gives the windows that are complete and want a decision each."""
        if self.stopped is not None:
            return []
        self.text.add(text)
        return self._await(self._windows.feed(text))

    def end(self) -> list[Window]:
        """Nothing more comes; gives the windows of what is left."""
        return self._await(self._windows.end()) if self.stopped is None else []

    def _await(self, found: list[Window]) -> list[Window]:
        self._waiting += found
        return found

    def settle(self, decision: Decision) -> None:
        """The decision on the oldest window without one. What does not clear it stops the gate."""
        window = self._waiting.popleft()
        if self.stopped is not None:
            return
        if decision.clears:
            self._settled = window.stop
        elif decision.action == "redact":
            self._redacted.append(window)
            self._settled = window.stop
            self.leaked += tokens(window.text) if self._optimistic else 0
        else:
            self.stopped = decision
            left = self.text[window.start :]
            self.leaked += tokens(left) if self._optimistic else 0

    @property
    def waiting(self) -> int:
        """How many windows want a decision."""
        return len(self._waiting)

    @property
    def cleared(self) -> int:
        """Up to which character the text may leave, as `render` gives it."""
        if self._optimistic and self.stopped is None:
            return len(self.text)
        return self._settled

    def render(self, start: int, stop: int) -> str:
        """What leaves in place of these characters: themselves, but for what was redacted.

        A redacted window gives one redaction, where it starts.
        """
        out, at = "", start
        for window in self._redacted:
            if window.stop <= start or window.start >= stop:
                continue
            out += self.text[at : max(at, window.start)]
            out += self._redaction if start <= window.start else ""
            at = min(stop, window.stop)
        return out + self.text[at:stop]
