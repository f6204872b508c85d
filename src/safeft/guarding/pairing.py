"""Which windows of a request and of a text go through the embedded guard's reader together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from safeft.guarding.reader import ASKED, REQUEST, SAID, Reader

BESIDE = 6
"""Windows of a request that those of an answer are read beside, each with each: 640 tokens."""

_KEPT = 256  # requests: a stream asks for the same one with each of its windows

Ids = list[int]


class Pairing:
    """Cuts requests and texts into windows and pairs them, as many as a long text has windows."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.beside = lru_cache(_KEPT)(self._beside)

    def rows(
        self, pairs: Sequence[tuple[str, str]], column: int
    ) -> tuple[list[tuple[Ids, Ids]], list[int]]:
        """The rows that are read of all pairs, and the place of the pair that each belongs to.

        Of an answer without tokens there is none: the column of answers knows no request alone.
        """
        rows: list[tuple[Ids, Ids]] = []
        owners: list[int] = []
        for owner, (request, text) in enumerate(pairs):
            found = self._requests(request) if column == REQUEST else self._answers(request, text)
            rows += found
            owners += [owner] * len(found)
        return rows, owners

    def _requests(self, request: str) -> list[tuple[Ids, Ids]]:
        return [(left, []) for left in self._reader.pieces(request, ASKED)]

    def _answers(self, request: str, text: str) -> list[tuple[Ids, Ids]]:
        parts = [part for part in self._reader.pieces(text, SAID) if part]
        return [(left, right) for left in self.beside(request) for right in parts] if parts else []

    def _beside(self, request: str) -> list[Ids]:
        """All windows of a request of ordinary length.

        Of a longer one the last, which holds what was asked at the end, and those that by
        themselves most likely ask for harm: with all of them the cost of an answer would grow with
        the request.
        """
        parts = self._reader.pieces(request, ASKED)
        if len(parts) <= BESIDE:
            return parts
        asks = self._reader.logits([(part, []) for part in parts[:-1]])[:, REQUEST]
        # What is no number is read, so that it leaves the text unread.
        order = np.argsort(-np.where(np.isfinite(asks), asks, np.inf), kind="stable")
        return [parts[place] for place in (*sorted(order[: BESIDE - 1]), len(parts) - 1)]
