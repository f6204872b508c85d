"""Rows of similar length, put together so that little is padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def by_length(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Places of `lengths`, shortest first, as many at once as `room` tokens hold with padding.

    One that is longer than `room` by itself is a batch of its own.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] > room:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
