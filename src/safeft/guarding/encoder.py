"""The embedded guard: reads a request and what is about to be said together, on any processor.

`benchmarks/guard/train.py` trains it on one half of the prompts and leaves the other half to the
evaluation judge: a guard and a judge that share rows would agree on their mistakes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from safeft.guarding.pairing import Pairing
from safeft.guarding.reader import ANSWER, KINDS, REQUEST, WEIGHTS, Reader, Weights
from safeft.records import Label, Prompt, Response, Verdict

if TYPE_CHECKING:
    from safeft.guarding.reader import Floats

KEPT = 10_000
"""Of so many pairs the scores are kept: a comparison's cells give many of the same answers."""


class EncoderGuard:
    """P(a harmful request is being answered), spread over categories.

    The likeliest category has the whole probability, the others as much less as they are less
    likely, so that a category's threshold can be set alone. A long text is read in windows and the
    worst pair of windows decides (`pairing` says which are read). What is not unsafe is labelled
    `neither`: this judge does not know a refusal from a harmless answer. A blank answer is safe;
    one of nothing but characters that MiniLM drops, such as invisible ones, is unread.
    """

    measures = "harmful content"

    def __init__(self, weights: Path = WEIGHTS, *, reader: Reader | None = None) -> None:
        """Raises StoredError or ModelError at once if the weights or MiniLM are missing.

        `reader` reads instead of MiniLM with these weights.
        """
        found = Weights.load(weights)
        self._reader = Reader(found) if reader is None else reader
        self._pairing = Pairing(self._reader)
        self._temperature = float(found.card["temperature"])
        self._kept: OrderedDict[tuple[int, str, str], Floats] = OrderedDict()
        self.categories: tuple[str, ...] = tuple(found.card["categories"])
        self.name = f"guard@{found.digest[:8]}"
        self.trained_on = str(found.card.get("rows", ""))

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per response, in order."""
        scores = self._scores([(asked(one.prompt), one.text) for one in responses], ANSWER)
        return [self._verdict(r.prompt, one) for r, one in zip(responses, scores, strict=True)]

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """One verdict per request, in order: whether it asks for harm."""
        scores = self._scores([(asked(one), "") for one in prompts], REQUEST)
        return [self._verdict(p, one) for p, one in zip(prompts, scores, strict=True)]

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """P(harm is answered) of each (request, text), whatever its category."""
        return [float(one.max()) for one in self._scores(pairs, ANSWER)]

    def _scores(self, pairs: Sequence[tuple[str, str]], column: int) -> list[Floats]:
        """The score of each category, for each pair. What was read lately is not read again."""
        # Looked up once: another thread may let go of what is kept while this one reads.
        found = {pair: self._kept.get((column, *pair)) for pair in pairs}
        new = [pair for pair, scores in found.items() if scores is None]
        fresh = dict(zip(new, self._read(new, column), strict=True))
        self._kept.update({(column, *pair): scores for pair, scores in fresh.items()})
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        read = {**found, **fresh}
        return [scores for pair in pairs if (scores := read[pair]) is not None]

    def _read(self, pairs: Sequence[tuple[str, str]], column: int) -> list[Floats]:
        """The same, by the model."""
        rows, owners = self._pairing.rows(pairs, column)
        logits, owned = self._reader.logits(rows) / self._temperature, np.array(owners)
        return [
            self._worst(logits[owned == owner], column) if owner in owned else self._unsaid(text)
            for owner, (_, text) in enumerate(pairs)
        ]

    def _worst(self, logits: Floats, column: int) -> Floats:
        """The windows' largest score of each category; NaN unless every logit is a number."""
        if not np.isfinite(logits).all():  # the logistic of minus infinity would be released
            return np.full(len(self.categories), np.nan, dtype=np.float32)
        harm = 0.5 * (1 + np.tanh(logits[:, [column]] / 2))  # logistic, without overflow
        kinds = logits[:, KINDS:]
        share = np.exp(kinds - kinds.max(axis=1, keepdims=True))
        return np.asarray((harm * share).max(axis=0), dtype=np.float32)

    def _unsaid(self, text: str) -> Floats:
        """The scores of an answer without tokens."""
        return np.full(len(self.categories), np.nan if text.strip() else 0, dtype=np.float32)

    def _verdict(self, prompt: Prompt, scores: Floats) -> Verdict:
        if not np.isfinite(scores).all():  # NaN is never above a threshold and would be released
            return Verdict(prompt.id, Label.UNREAD, self.name)
        label = Label.FULFILLED if scores.max() >= 0.5 else Label.NEITHER
        named = zip(self.categories, map(float, scores), strict=True)
        return Verdict(prompt.id, label, self.name, dict(named))


def asked(prompt: Prompt) -> str:
    """The conversation as one text, the last turn last."""
    return "\n".join(one.content for one in prompt.messages if one.role != "system")
