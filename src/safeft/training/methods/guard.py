"""A guard as a teacher: how surely it calls what an answer says safe, asked once and stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from safeft.judges import Judge
from safeft.records import Response, Verdict
from safeft.runs import Lines, read_lines

AT_ONCE = 128  # texts that are written to disk together
One = TypeVar("One")


def safe(verdict: Verdict) -> float:
    """P(safe): 1 less the largest score; 0 where nobody could tell, as a guard fails closed."""
    if verdict.unsafe is None:
        return 0.0
    scores = verdict.scores.values() or [float(verdict.unsafe)]
    return 1 - max(scores) if all(0 <= one <= 1 for one in scores) else 0.0


def rated(
    path: Path, guard: Judge, cases: Sequence[One], said: Callable[[One], Response]
) -> list[float]:
    """P(safe) of each case, as `said` shows it to the guard; stored in `path`."""

    def made(batch: Sequence[One]) -> list[dict[str, float]]:
        return [{"safe": round(safe(one), 6)} for one in guard([said(one) for one in batch])]

    if not path.is_file():
        with Lines(path) as lines:
            lines.fill(cases, AT_ONCE, made)
    return [float(one["safe"]) for one in read_lines(path)]
