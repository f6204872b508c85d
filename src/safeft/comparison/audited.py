"""What is known of each row of a set, from its text, its score and its guard's verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from safeft.comparison.scored import Asked
from safeft.data import Example
from safeft.data.duplicates import duplicates
from safeft.data.overlap import overlapping
from safeft.data.personal import counts
from safeft.data.signs import SIGNS, signs
from safeft.evaluation import Suite
from safeft.report.audit import AuditedRow, SignRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def audited(
    rows: Sequence[Example],
    asked: Asked,
    suites: Sequence[Suite],
    scores: Sequence[dict[str, Any]],
    guarded: Sequence[dict[str, Any]],
) -> tuple[AuditedRow, ...]:
    """One record a row, in order; `guarded` is empty where no guard read the answers."""
    leaks = _leaks(rows, suites)
    repeated = {one.place: one for one in duplicates(rows)}
    ranks = _ranks([one["score"] for one in scores])
    found = []
    for place, row in enumerate(rows):
        copy = repeated.get(place)
        verdict = guarded[place] if guarded else {}
        sign = signs(row)
        found.append(
            AuditedRow(
                source=row.source,
                row=row.row,
                score=scores[place]["score"],
                rank=ranks.get(place),
                harmful=verdict.get("category", ""),
                harmful_score=verdict.get("score"),
                unread=verdict.get("unread", False),
                leaks=tuple(leaks.get((row.source, row.row), ())),
                duplicate_of=rows[copy.of].place if copy else "",
                similarity=round(copy.similarity, 4) if copy else None,
                personal=counts(_text(row), asked.region),
                signs=sign.present,
                answer_words=sign.words,
            )
        )
    return tuple(found)


def _leaks(rows: Sequence[Example], suites: Sequence[Suite]) -> dict[tuple[str, int], list[str]]:
    """The evaluation prompts that a row repeats, by the row's source and number."""
    found: dict[tuple[str, int], list[str]] = {}
    for suite in suites:
        for hit in overlapping(rows, suite.all_prompts()):
            how = "copy" if hit.exact else f"{hit.similarity:.0%}"
            found.setdefault((hit.source, hit.row), []).append(f"{hit.prompt_id} {how}")
    return found


def _ranks(scores: Sequence[float | None]) -> dict[int, int]:
    """The place of each scored row, 1 for the highest; equal scores keep the set's order."""
    scored = [place for place, score in enumerate(scores) if score is not None]
    ordered = sorted(scored, key=lambda place: -(scores[place] or 0.0))
    return {place: rank for rank, place in enumerate(ordered, 1)}


def _text(row: Example) -> str:
    return "\n".join(turn.content for turn in row.messages) or row.text


def sign_rows(rows: Sequence[AuditedRow]) -> Iterator[SignRow]:
    """For each sign, how much higher the scores of the rows that have it are: Welch's interval."""
    scored = [one for one in rows if one.score is not None]
    for sign in SIGNS:
        having = np.array([one.score for one in scored if sign in one.signs], np.float64)
        others = np.array([one.score for one in scored if sign not in one.signs], np.float64)
        yield SignRow(sign, len(having), len(scored), *_difference(having, others))


def _difference(having: Floats, others: Floats) -> tuple[float, float, float]:
    """Difference of means with its 95 % interval; NaN where there is no spread to go by."""
    from scipy.stats import ttest_ind

    if min(len(having), len(others)) < 2 or having.var() + others.var() == 0:
        return math.nan, math.nan, math.nan
    bounds = ttest_ind(having, others, equal_var=False).confidence_interval(0.95)
    return float(having.mean() - others.mean()), float(bounds.low), float(bounds.high)
