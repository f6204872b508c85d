"""What a guard model said: its verdict and categories, and how likely the verdict was.

What does not follow the documented format says nothing: it is unread, and never taken for safe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from safeft.guarding.decision import OVERALL
from safeft.guarding.schema import Format, Says

_WORD = re.compile(r"\W*(\w+)\W*")
_NOTHING = ("", "none", "null", "n/a")


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict in words: where its word begins in the text, and what it names."""

    unsafe: bool
    place: int
    categories: tuple[str, ...] = ()


def told(read: Format, text: str, *, whole: bool = True) -> Told | None:
    """The verdict that a text gives in the documented format; None when it gives none.

    Nor does one that was cut off (`whole` is False) unless the format allows it, one whose words
    are not labels, and one with verdicts that contradict each other.
    """
    found = [one for one in re.finditer(read.pattern, text) if one["verdict"] is not None]
    labels = {read.words.get(one["verdict"].lower()) for one in found}
    if len(labels) != 1 or None in labels or not (whole or read.cut):
        return None
    named = [name for one in found for name in _named(read, one)]
    return Told("unsafe" in labels, found[0].start("verdict"), tuple(dict.fromkeys(named)))


def _named(read: Format, found: re.Match[str]) -> Iterable[str]:
    """The categories that a match names; one that the format does not know is `unsafe` alone."""
    if not read.categories:
        return
    known = {word.lower(): name for word, name in read.categories.items()}
    for word in (found["categories"] or "").split(","):
        if (plain := word.strip().lower()) not in _NOTHING:
            yield known.get(plain, OVERALL)


def spelled(token: str, words: Iterable[str]) -> str | None:
    """The word that a token spells or begins, in any case; None when it begins several, or none."""
    letters = _WORD.fullmatch(token.lower())
    begun = [word for word in words if letters and word.startswith(letters[1])]
    return begun[0] if len(begun) == 1 else None


def chance(masses: Mapping[str, float], words: Mapping[str, Says]) -> float | None:
    """P(unsafe) / (P(unsafe) + P(safe)), from the probability of each word; None without any."""
    sums: dict[Says, float] = {"safe": 0.0, "unsafe": 0.0}
    for word, label in words.items():
        sums[label] += masses.get(word, 0.0)
    total = sums["safe"] + sums["unsafe"]
    return sums["unsafe"] / total if total > 0 and math.isfinite(total) else None
