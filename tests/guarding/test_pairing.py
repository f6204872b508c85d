"""Laws of pairing: every word is read, an ordinary request beside all of an answer, and a long one
beside as little as keeps its harm in sight.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.spelling import Spelling
from safeft.guarding.pairing import BESIDE, Pairing
from safeft.guarding.reader import ANSWER, ASKED, REQUEST, SAID, SHARED

ORDINARY = ASKED + (BESIDE - 1) * (ASKED - SHARED)
"""Tokens of the longest request that has so many windows."""


def asking(request: str, text: str) -> tuple[float, ...]:
    """A request asks for harm by each `!` in it."""
    return (0.0, float(request.count("!")), 0.0, 0.0, 0.0)


def reader() -> Spelling:
    """Its tokens are characters."""
    return Spelling(asking)


def said(rows: list[tuple[list[int], list[int]]]) -> list[tuple[str, str]]:
    """The rows in letters."""
    return [("".join(map(chr, left)), "".join(map(chr, right))) for left, right in rows]


@settings(deadline=None)
@given(st.integers(0, ORDINARY), st.integers(1, 3 * SAID))
def test_an_ordinary_request_is_read_beside_all_of_an_answer(asked: int, told: int) -> None:
    """Each window with each, and none read for itself."""
    made = reader()
    request, text = "x" * asked, "y" * told
    rows, owners = Pairing(made).rows([(request, text)], ANSWER)
    both = itertools.product(made.pieces(request, ASKED), made.pieces(text, SAID))
    assert rows == list(both)
    assert (owners, made.read) == ([0] * len(rows), [])


@settings(deadline=None)
@given(st.integers(ORDINARY + 1, 20 * ASKED), st.integers(1, 6 * SAID))
def test_the_cost_of_an_answer_does_not_grow_with_its_request(asked: int, told: int) -> None:
    """So many rows for each of its windows; the request is read by itself, and once."""
    made = reader()
    pairing, request, text = Pairing(made), "x" * asked, "y" * told
    first, _ = pairing.rows([(request, text)], ANSWER)
    read = len(made.read)
    again, owners = pairing.rows([(request, text), (request, text[:1])], ANSWER)
    assert read == len(made.read) < len(made.pieces(request, ASKED))
    assert len(first) == BESIDE * len(made.pieces(text, SAID))
    assert (again[: len(first)], owners.count(1)) == (first, BESIDE)


@pytest.mark.parametrize("place", range(0, 12 * ASKED, 97))
def test_what_asks_for_harm_in_a_long_request_is_read_beside_the_answer(place: int) -> None:
    """Wherever it stands, and so is the end of the request; in their order."""
    words = "".join(map(chr, range(0x4E00, 0x4E00 + 12 * ASKED)))  # no two alike
    request = words[:place] + "!" + words[place:]
    rows, _ = Pairing(reader()).rows([(request, "y")], ANSWER)
    lefts = [left for left, _ in said(rows)]
    assert any("!" in left for left in lefts)
    assert request.endswith(lefts[-1])
    assert lefts == sorted(lefts, key=request.index)


def test_the_windows_that_most_likely_ask_for_harm_are_taken() -> None:
    """Not those that come first."""
    step = ASKED - SHARED
    request = "".join(f"{'!' * (n % 7)}{chr(65 + n)}".ljust(step, ".") for n in range(20))
    made = reader()
    rows, _ = Pairing(made).rows([(request, "y")], ANSWER)
    taken = [left for left, _ in said(rows)][:-1]
    counts = sorted((left.count("!") for left, _ in made.read), reverse=True)
    assert sorted((left.count("!") for left in taken), reverse=True) == counts[: BESIDE - 1]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_window_that_cannot_be_read_is_not_left_out(broken: float) -> None:
    """Beside the answer it makes the text unread."""
    made = Spelling(lambda left, _: (0.0, broken if "?" in left else 9.0, 0.0, 0.0, 0.0))
    request = "." * 900 + "?" + "." * 900
    rows, _ = Pairing(made).rows([(request, "y")], ANSWER)
    assert any("?" in left for left, _ in said(rows))


def test_requests_are_read_alone_and_whole() -> None:
    """Each window of a long one, once; of an answer without tokens nothing is read."""
    made, long = reader(), "x" * 20 * ASKED
    rows, owners = Pairing(made).rows([(long, ""), ("a", "")], REQUEST)
    assert rows == [(one, []) for one in (*made.pieces(long, ASKED), [97])]
    assert owners == [0] * (len(rows) - 1) + [1]
    assert Pairing(made).rows([(long, ""), ("a", " \u200b")], ANSWER) == ([], [])
    assert made.read == []
