"""Safety rows beside or between the task's, in an order that the seed decides.

Which rows a step sees depends on the step's number alone, so that a resumed run sees the same ones
and several micro-batches or processes share them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from safeft.data.masks import Encoded
from safeft.errors import DataError
from safeft.training.methods.reference import padded
from safeft.training.methods.safety_rows import SafetyRows
from safeft.training.methods.terms import Setup, Step


class Stream:
    """Rows without end: each pass over them has an order of its own."""

    def __init__(self, rows: Sequence[Encoded], setup: Setup) -> None:
        self.rows = rows
        self._seed = setup.seed
        self._pad = setup.tokenizer.pad_token_id
        self._device = setup.model.device
        self._order = lru_cache(2)(self._shuffled)

    def drawn(self, number: int, count: int) -> list[int]:
        """The places of `count` rows for the step of this number, from 0."""
        total = len(self.rows)
        places = (divmod(place, total) for place in range(number * count, (number + 1) * count))
        return [self._order(turn)[place] for turn, place in places]

    def shared(self, step: Step, count: int) -> list[int]:
        """This part's of the step's `count` rows; none when there are more parts than rows."""
        return self.drawn(step.number, count)[step.part :: step.parts]

    def batch(self, places: Sequence[int]) -> dict[str, Any]:
        """Inputs of the model, padded."""
        return padded([self.rows[place] for place in places], self._pad, self._device)

    def supervised(self, places: Sequence[int]) -> int:
        """How many tokens of these rows are trained; the first of a row has no prediction."""
        return sum(sum(self.rows[place].loss_mask[1:]) for place in places)

    def _shuffled(self, turn: int) -> list[int]:
        total = len(self.rows)
        return random.Random(f"{self._seed} {turn}").sample(range(total), total)


def safety_stream(method: SafetyRows, rows: int, setup: Setup) -> Stream:
    """The stream of a method's `rows` harmful rows and their look-alikes, encoded as the task's.

    Raises DataError when max_length leaves none of them a trained token.
    """
    harmful, benign = method.drawn(rows, setup.context)
    encoded = [setup.encode(one) for one in (*harmful, *benign)]
    if not (usable := [row for row in encoded if any(row.loss_mask[1:])]):
        raise DataError(f"{method.name}: no safety row has an answer within max_length; raise it")
    return Stream(usable, setup)
