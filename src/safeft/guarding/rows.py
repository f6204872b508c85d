"""Whose training row is it, the guard's or the judge's? And does a card show that they share some?

A row is known by its answer, which both heads read: the same refusal to two prompts is one row.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

GUARD_PARITY = 1
"""The guard trains on prompts whose `half` is this; the other half is left to the judge."""

_BYTES = 4  # 2,000 rows beside 8,000 differing ones seem to share one in 270 trainings


def half(prompt: str) -> int:
    """0 or 1: the parity of the first byte of the prompt's sha256; white space does not count."""
    return byte(prompt, 0) % 2


def byte(prompt: str, place: int) -> int:
    """One byte of the prompt's sha256, by which prompts are dealt; white space does not count."""
    return hashlib.sha256(_plain(prompt).encode()).digest()[place]


def drawn(side: int, draw: Callable[[], str]) -> str:
    """An answer of one half: what a generator says for both heads is divided as prompts are."""
    return next(answer for _ in range(1000) if half(answer := draw()) == side)


def sided(
    rows: Sequence[dict[str, Any]], side: int, prompt: str, answer: str
) -> list[dict[str, Any]]:
    """The rows with a prompt of one half, and an answer that no row of the other half repeats."""
    other = {_plain(row[answer]) for row in rows if half(row[prompt]) != side}
    return [r for r in rows if half(r[prompt]) == side and _plain(r[answer]) not in other]


def marks(answers: Iterable[str]) -> str:
    """The digests of the answers, sorted, in base64; white space does not count."""
    return base64.b64encode(b"".join(sorted({_mark(one) for one in answers}))).decode()


def common(one: str, other: str) -> int:
    """How many rows two cards share."""
    return len(_read(one) & _read(other))


def repeated(answers: Iterable[str], card: str) -> set[str]:
    """Those of `answers` that a card's rows hold."""
    known = _read(card)
    return {one for one in answers if _mark(one) in known}


def _mark(answer: str) -> bytes:
    return hashlib.sha256(_plain(answer).encode()).digest()[:_BYTES]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _read(text: str) -> set[bytes]:
    data = base64.b64decode(text)
    return {data[start : start + _BYTES] for start in range(0, len(data), _BYTES)}
