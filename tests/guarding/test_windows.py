"""Laws of windows: they depend on the text alone, and together they are the text."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.guarding.windows import Window, Windows, tokens

ANY_TIME = settings(deadline=None)
LETTERS = "ab Z9_.!?…,'\")]\n\t\u00a0\u3042\u4e2d\u3002\uac00é\u0301👍"
TEXTS = st.one_of(
    st.text(st.sampled_from(LETTERS), max_size=300),
    st.text(max_size=80),
    st.lists(st.sampled_from(["word ", "Yes. ", "\n", " " * 90, "w" * 200, "中"])).map("".join),
)
SIZES = st.tuples(st.integers(4, 40), st.integers(4, 40), st.integers(0, 40))


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces, some of them empty."""
    ends = sorted(min(one, len(text)) for one in places)
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


def windows(pieces: list[str], sizes: tuple[int, int, int]) -> list[Window]:
    """All windows of a text that comes in these pieces."""
    made = Windows(*sizes)
    return [*(window for piece in pieces for window in made.feed(piece)), *made.end()]


@ANY_TIME
@given(TEXTS, st.lists(st.integers(0, 300), max_size=12), SIZES)
def test_windows_do_not_depend_on_the_chunks(
    text: str, places: list[int], sizes: tuple[int, int, int]
) -> None:
    """In any pieces, one character at a time, or whole: the same windows."""
    whole = windows([text], sizes)
    assert windows(cut(text, places), sizes) == whole
    assert windows(list(text), sizes) == whole


@ANY_TIME
@given(TEXTS, SIZES)
def test_windows_are_the_text(text: str, sizes: tuple[int, int, int]) -> None:
    """One after the other, without a gap, an overlap or an empty one."""
    found = windows([text], sizes)
    assert "".join(one.text for one in found) == text
    assert all(one.text for one in found)
    assert [one.start for one in found] == [0, *(one.stop for one in found)][: len(found)]
    assert all(text[one.start : one.stop] == one.text for one in found)


@ANY_TIME
@given(TEXTS, SIZES)
def test_the_context_of_a_window_is_what_comes_before_it(
    text: str, sizes: tuple[int, int, int]
) -> None:
    """No more tokens than the overlap, and nothing where none is wanted."""
    for one in windows([text], sizes):
        assert text[: one.start].endswith(one.before)
        assert one.read == one.before + one.text
        # What is cut within a word may count one token more than it did there.
        assert tokens(one.before) <= sizes[2] + 1
        assert sizes[2] > 0 or not one.before


@ANY_TIME
@given(TEXTS, SIZES)
def test_no_window_grows_beyond_its_size(text: str, sizes: tuple[int, int, int]) -> None:
    """But for its last word, which is of 80 letters at most; the first has a size of its own."""
    size, first, _ = sizes
    for one in windows([text], sizes):
        assert tokens(one.text) < (first if one.start == 0 else size) + 16


@ANY_TIME
@given(TEXTS, SIZES)
def test_a_window_comes_as_soon_as_it_is_complete(text: str, sizes: tuple[int, int, int]) -> None:
    """What is held back without a window is less than one window and one word."""
    made = Windows(*sizes)
    ended = 0
    for place, letter in enumerate(text):
        for window in made.feed(letter):
            ended = window.stop
        waiting = text[ended : place + 1]
        assert tokens(waiting) < (sizes[1] if ended == 0 else sizes[0]) + 16


@pytest.mark.parametrize("text", ["Word for word. ", "w" * 200, " ", "中", "a\n"])
def test_what_is_kept_does_not_grow_with_the_text(text: str) -> None:
    """A token of a long answer costs what one of a short answer does."""
    made, sizes = Windows(), []
    for place, letter in enumerate(text * (30_000 // len(text))):
        made.feed(letter)
        if place % 500 == 0:
            sizes.append(len(pickle.dumps(made)))
    assert max(sizes) < 8000


def test_a_sentence_of_half_a_window_ends_it() -> None:
    """A short one does not, nor does a dot within a word; white space leads the next window."""
    text = "One two three four five six seven eight. Then v1.5 it is. And so on it went."
    found = [one.text for one in windows([text], (16, 16, 0))]
    assert found == [
        "One two three four five six seven eight.",
        " Then v1.5 it is. And so on it went.",
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("word", 1), ("sixsix", 2), ("a b, c", 4), ("中文", 2), ("  x", 1), (" " * 80, 1)],
)
def test_tokens_are_counted_about_as_a_tokenizer_does(text: str, count: int) -> None:
    """Five characters of a word, one ideograph, one mark, one wide gap."""
    assert tokens(text) == count


def test_the_end_of_a_long_word_is_context_too() -> None:
    """Where the overlap has room for a part of a word alone, that part is read again."""
    first, second = windows(["abcdefghijklmnopqrst " + "next one two three"], (4, 4, 2))[:2]
    assert first.text == "abcdefghijklmnopqrst"
    assert second.before == "klmnopqrst"
