"""A text that comes in pieces, and is asked for in stretches."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Growing:
    """Grows at its end. Adding to it costs what is added, and a stretch of it what that is long.

    A string would be copied whole for each token of a long answer.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._ends: list[int] = []

    def add(self, text: str) -> None:
        """More of it."""
        if text:
            self._pieces.append(text)
            self._ends.append(len(self) + len(text))

    def __len__(self) -> int:
        """Characters."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, part: slice) -> str:
        """The characters of a slice without a step."""
        start, stop, _ = part.indices(len(self))
        if start >= stop:
            return ""
        first, last = bisect_right(self._ends, start), bisect_left(self._ends, stop)
        before = self._ends[first] - len(self._pieces[first])
        return "".join(self._pieces[first : last + 1])[start - before : stop - before]

    def __str__(self) -> str:
        """All of it."""
        return "".join(self._pieces)
