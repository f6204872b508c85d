"""Laws of the codes: what goes in comes out, and what is no code stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safeft.data.codes import from_codes, from_morse, mirrored, shifted, to_codes, to_morse

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"))


@given(text=TEXTS, by=st.integers(-100, 100))
def test_a_shift_and_back_is_the_text(text: str, by: int) -> None:
    """By any number of places, and 26 of them are none."""
    assert shifted(shifted(text, by), -by) == text
    assert shifted(text, by + 26) == shifted(text, by)


@given(text=TEXTS)
def test_what_is_mirrored_twice_is_the_text(text: str) -> None:
    """And only Latin letters move, in their own case."""
    assert mirrored(mirrored(text)) == text
    moved = [one for one, other in zip(text, mirrored(text), strict=True) if one != other]
    assert all(one.isascii() and one.isalpha() for one in moved)


@given(text=TEXTS)
def test_code_points_and_morse_come_back(text: str) -> None:
    """Morse in capitals."""
    assert from_codes(to_codes(text)) == text
    assert from_morse(to_morse(text)) == text.upper()


def test_the_codes_are_the_known_ones() -> None:
    """Rot13, Caesar, the mirrored alphabet, code points and international Morse."""
    assert shifted("Hello, World", 13) == "Uryyb, Jbeyq"
    assert shifted("xyz", 3) == "abc"
    assert mirrored("Az") == "Za"
    assert to_codes("Hi!") == "72 105 33"
    assert to_morse("so s") == "... ---  ... "


def test_what_is_no_code_stays() -> None:
    """Numbers that are no characters, and signals that are no letters."""
    assert from_codes("Take 2 eggs, 55296 times.") == "Take 2 eggs, 55296 times."
    assert from_morse("........ ok") == "........ok"
