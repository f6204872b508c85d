"""Repeated rows: exactly those that comparing all pairs would find."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.data import Example
from safeft.data.duplicates import Duplicate, duplicates
from safeft.data.overlap import grams, words
from safeft.errors import ConfigError
from safeft.records import Message

ANSWER = "Water it in the morning before the sun is high and then again in the evening."


def rows(*pairs: tuple[str, str]) -> list[Example]:
    """Questions and answers."""
    return [
        Example((Message("user", asked), Message("assistant", said)), number, "rows")
        for number, (asked, said) in enumerate(pairs, 1)
    ]


def test_copies_are_exact_up_to_case_space_and_punctuation() -> None:
    """Prompt and answer both; the first one is the original of all."""
    found = duplicates(rows(("Why?", "So."), ("why", "  SO!"), ("Why?", "No."), ("Why?", "So.")))
    assert found == [Duplicate(1, 0, 1.0, True), Duplicate(3, 0, 1.0, True)]


def test_words_that_move_between_turns_are_no_copy() -> None:
    """`A B` answered `C` is not `A` answered `B C`, exactly."""
    assert duplicates(rows(("a b", "c"), ("a", "b c"))) == []


def test_an_edited_row_is_near_its_original() -> None:
    """One word changed in a long answer; another answer to the same question is none."""
    edited = ANSWER.replace("evening", "night")
    [one] = duplicates(rows(("Roses?", ANSWER), ("Ferns?", "Never."), ("Roses?", edited)))
    assert (one.place, one.of, one.exact) == (2, 0, False)
    assert 0.8 <= one.similarity < 1


def test_plain_texts_are_compared_too() -> None:
    """A document has no turns."""
    texts = [Example((), number, "rows", ANSWER) for number in (1, 2)]
    assert duplicates(texts) == [Duplicate(1, 0, 1.0, True)]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=14), max_size=12),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
)
def test_the_prefix_filter_misses_no_pair(texts: list[list[str]], threshold: float) -> None:
    """Against all pairs by brute force: the same rows, with the same best likeness."""
    documents = [Example((), n, "rows", " ".join(one)) for n, one in enumerate(texts)]
    sets = [grams(words(one.text)) for one in documents]
    first = {tuple(one): place for place, one in reversed(list(enumerate(texts)))}
    originals = sorted(first.values())
    expected: dict[int, float] = {}
    for a, b in combinations(originals, 2):
        if (union := len(sets[a] | sets[b])) and sets[a] and sets[b]:
            likeness = len(sets[a] & sets[b]) / union
            if likeness >= threshold:
                expected[b] = max(expected.get(b, 0), likeness)
    found = {one.place: one.similarity for one in duplicates(documents, threshold) if not one.exact}
    assert found == pytest.approx(expected)
    copies = [one for one in duplicates(documents, threshold) if one.exact]
    assert len(copies) == len(texts) - len(originals)
    assert all(texts[one.place] == texts[one.of] for one in copies)


@pytest.mark.parametrize("threshold", [0, -1, 1.1, math.nan])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    """It is a share."""
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        duplicates([], threshold)
