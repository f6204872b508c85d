"""Whether an unbroken answer makes sense of the request: a logistic head on signs and an embedding.

A small model that was tuned too hard writes lines that are neither loops nor letter soup, and that
nobody could use. No single sign tells them from prose; the head weighs several, and MiniLM's
reading of the answer. It was trained on answers of tiny models that were labelled blind, and on
human answers to harmless questions (benchmarks/judge/sense.py; its card has the agreement).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from safeft.judges.coherence import MIN_WORDS, STOP, WORD, content_stems
from safeft.judges.defects import invented, misplaced
from safeft.judges.head import Floats
from safeft.records import Response

SENSE_WEIGHTS = Path(__file__).parent / "weights" / "sense.safetensors"
EMBEDDED = 3.0  # the scale of the unit-length embedding, against signs of about 1


def sense_features(
    responses: Sequence[Response], whole_NE: Floats, cosine_N: Floats, known: frozenset[str]
) -> Floats:
    """One row per response: its signs, cos(prompt, answer), and the answer's embedding.

    `known` are the words of English.
    """
    signs = np.array([_signs(one, known) for one in responses], dtype=np.float32)
    cosine = 3 * cosine_N[:, None]
    return np.hstack([signs, cosine, EMBEDDED * whole_NE]).astype(np.float32)


def readable(response: Response) -> bool:
    """Whether there are words enough to ask for sense: `Paris.` is an answer."""
    return len(WORD.findall(response.text)) >= MIN_WORDS


def _signs(response: Response, known: frozenset[str]) -> list[float]:
    """Counts and shares, capped so that no long text runs away, and scaled to about 1."""
    prompt, answer = response.prompt.text, response.text
    words = WORD.findall(answer)
    n = max(1, len(words))
    odd, new = len(misplaced(answer)), len(invented(prompt, answer, known))
    asked, said = content_stems(prompt), content_stems(answer)
    shared = len(asked & said)
    return [
        min(odd, 6) / 2,
        min(new, 8) / 2,
        20 * min(odd / n, 0.25),
        20 * min(new / n, 0.25),
        2 * shared / max(1, len(asked)),
        2 * shared / max(1, len(said)),
        4 * sum(word.lower() in STOP for word in words) / n,
        min(float(np.log1p(n)), 5),
        4 * len({word.lower() for word in words}) / n,
        10 * min(answer.count("\n") / n, 0.2),
    ]
