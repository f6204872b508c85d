"""Rows that say what an earlier row said: exact copies and near copies.

Near copies are found exactly, without comparing all pairs: two sets of n-grams with a Jaccard index
of t or more share one of the first `n - ceil(t n) + 1` n-grams of either, in any order that both
keep (prefix filter: Chaudhuri et al. 2006; Bayardo et al. 2007). Rare n-grams come first here, so
that a template that every row has costs nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safeft.data.formats import Example
from safeft.data.overlap import grams, words
from safeft.errors import ConfigError

THRESHOLD = 0.8
Grams = list[int]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row and the earlier row that it repeats, as places in the set from 0.

    `similarity` is the Jaccard index of their word 5-grams, 1 for exact copies.
    """

    place: int
    of: int
    similarity: float
    exact: bool


def duplicates(examples: Sequence[Example], threshold: float = THRESHOLD) -> list[Duplicate]:
    """Rows that repeat an earlier one, each with the earlier row that is most like it.

    Exact copies have the same words in the same turns, whatever the case, spacing and punctuation.
    Near copies have word 5-grams (prompt and answer together) whose Jaccard index is at least
    `threshold`; rows under five words, and scripts without spaces, are found as exact copies only.
    Raises ConfigError for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold: expected above 0 and at most 1, found {threshold}")
    first: dict[tuple[tuple[str, ...], ...], int] = {}
    found, originals = [], []
    for place, item in enumerate(examples):
        said = tuple(map(words, _turns(item)))
        if said in first:
            found.append(Duplicate(place, first[said], 1.0, exact=True))
        else:
            first[said] = place
            originals.append(place)
    sets = [_hashed(examples[place]) for place in originals]
    near = _near(_ordered(sets), threshold)
    found += [Duplicate(originals[a], originals[b], like, exact=False) for a, b, like in near]
    return sorted(found, key=lambda one: one.place)


def _turns(item: Example) -> list[str]:
    return [turn.content for turn in item.messages] or [item.text]


def _hashed(item: Example) -> set[int]:
    # Hashes of 64 bits: a set of a million n-grams has no two alike but by a freak.
    return {hash(gram) for gram in grams(words("\n".join(_turns(item))))}


def _ordered(sets: Sequence[set[int]]) -> list[Grams]:
    """Each row's n-grams, the rarest of the whole set first."""
    seen = Counter(gram for one in sets for gram in one)
    return [sorted(one, key=lambda gram: (seen[gram], gram)) for one in sets]


def _near(rows: Sequence[Grams], threshold: float) -> Iterator[tuple[int, int, float]]:
    """(row, earlier row, Jaccard index) of the rows that have such an earlier one."""
    index: dict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        # Rounding must not shorten it.
        first = row[: len(row) - math.ceil(threshold * len(row) - 1e-9) + 1]
        candidates = {other for gram in first for other in index[gram]}
        likes = [(_jaccard(row, rows[other]), -other) for other in candidates]
        likeness, other = max(likes, default=(0.0, 0))
        if likeness >= threshold:
            yield number, -other, likeness
        for gram in first:
            index[gram].append(number)


def _jaccard(one: Grams, other: Grams) -> float:
    shared = len(set(one).intersection(other))
    return shared / (len(one) + len(other) - shared)
