"""What `generate` writes into."""

from __future__ import annotations

from typing import Any


class Kept:
    """A streamer as a user would write one: it keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.ended = 0

    def put(self, value: Any) -> None:
        assert not self.ended
        self.given.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended += 1

    @property
    def tokens(self) -> list[int]:
        """What followed the prompt."""
        return [token for one in self.given[1:] for token in one]
