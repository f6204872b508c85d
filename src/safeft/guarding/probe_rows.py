"""Answers token by token: which words stand where, and what a probe says of them there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from safeft.guarding.conversation import conversation
from safeft.guarding.detokenizing import Text
from safeft.guarding.probe import Probe
from safeft.guarding.probe_ride import Ride
from safeft.guarding.states import Request
from safeft.records import Message, Prompt

if TYPE_CHECKING:
    from safeft.guarding.probe import Doubles


class Row:
    """One answer, as far as it was read: what each token adds to its text, and its logit."""

    def __init__(
        self, messages: tuple[Message, ...], ids: list[int] | None = None, text: str = ""
    ) -> None:
        """`ids` are the request's as the model reads it, where that is known."""
        self.messages, self.ids, self.text = messages, ids, text
        self.unread = True
        self._said: Text | None = None
        self._pieces: list[str] = []
        self._logits: list[float] = []
        self._smooth: Doubles | None = None  # of these logits

    def add(self, tokenizer: Any, ids: Sequence[int], logits: Sequence[float]) -> None:
        """More tokens of it."""
        if self._said is None:
            self._said = Text(tokenizer)
        self._pieces += [self._said.add(token) for token in ids]
        self._logits += map(float, logits)
        self._smooth = None

    def answers(self, prompt: Prompt) -> bool:
        """Whether it was said in this conversation, of which a judge may see the last turns."""
        turns = sum(one.role != "system" for one in prompt.messages)
        return conversation(self.messages, turns) == prompt.messages

    def logit(self, text: str, probe: Probe) -> float | None:
        """The largest smoothed logit of the tokens that spell `text`; None if it is not in here.

        Where it stands more than once the largest counts, and NaN before any number.
        """
        whole = "".join(self._pieces)
        if not text or text not in whole:
            return None
        ends = np.cumsum([len(one) for one in self._pieces])
        starts = np.concatenate([[0], ends[:-1]])
        smooth = self._smoothed(probe)
        found, at = [], whole.find(text)
        while at >= 0:
            inside = (ends > at) & (starts < at + len(text)) & (ends > starts)
            found.append(smooth[inside].max())
            at = whole.find(text, at + 1)
        return float(np.max(found))

    def up_to(self, text: str) -> str:
        """This answer to the end of `text`, of which it ends with the larger part; else nothing."""
        whole = "".join(self._pieces)
        for shared in range(len(text) - 1, len(text) // 2, -1):
            if whole.endswith(text[:shared]):
                return whole + text[shared:]
        return ""

    def worst(self, probe: Probe) -> float:
        """The largest smoothed logit of all that was read; NaN where nothing was."""
        return float(self._smoothed(probe).max()) if self._logits else float("nan")

    def _smoothed(self, probe: Probe) -> Doubles:
        if self._smooth is None:
            self._smooth = probe.smoothed(self._logits)
        return self._smooth


class Live:
    """The rows of a ride, which grow as the model writes."""

    def __init__(self, ride: Ride, requests: Sequence[Request], tokenizer: Any) -> None:
        self._ride, self._requests, self._tokenizer = ride, requests, tokenizer
        self._rows: list[Row] = []
        self._known = 0

    def rows(self) -> list[Row]:
        """All of them, up to the last token that the model has read."""
        ids_NT, logits_NT = self._ride.taken()
        if not self._rows:
            each = max(1, len(ids_NT) // len(self._requests))
            self._rows = [Row(*self._requests[row // each]) for row in range(len(ids_NT))]
        new = slice(self._known, ids_NT.shape[1])
        for row, ids, logits in zip(self._rows, ids_NT, logits_NT, strict=True):
            row.add(self._tokenizer, ids[new].tolist(), logits[new].tolist())
        self._known = ids_NT.shape[1]
        return self._rows
