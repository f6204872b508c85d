"""Laws of a growing text: it is the string of its pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safeft.guarding.growing import Growing

PLACES = st.none() | st.integers(-40, 40)


@given(st.lists(st.text(max_size=8), max_size=8), PLACES, PLACES)
def test_every_stretch_is_that_of_the_whole_string(
    pieces: list[str], start: int | None, stop: int | None
) -> None:
    """Also an empty one, one over several pieces, and one that is counted from the end."""
    grown, whole = Growing(), "".join(pieces)
    for number, piece in enumerate(pieces):
        grown.add(piece)
        assert len(grown) == len("".join(pieces[: number + 1]))
    assert (len(grown), str(grown)) == (len(whole), whole)
    assert grown[start:stop] == whole[start:stop]
    assert grown[:] == whole
