"""Batches by length: every place once, within the room, sorted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safeft.models.batches import by_length


@given(st.lists(st.integers(0, 50)), st.integers(1, 200))
def test_every_place_is_in_one_batch_that_fits(lengths: list[int], room: int) -> None:
    """Sorted by length, padded to the longest; only a single row may be longer than the room."""
    found = list(by_length(lengths, room))
    places = [place for batch in found for place in batch]
    assert sorted(places) == list(range(len(lengths)))
    assert [lengths[place] for place in places] == sorted(lengths)
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= room
