"""The laws of a split."""

from __future__ import annotations

import pytest

from safeft.data import Example, fingerprint
from safeft.data.splits import split
from safeft.errors import ConfigError, DataError
from safeft.records import Message


def _example(number: int, prompt: str | None = None) -> Example:
    asked = Message("user", prompt or f"Question {number}?")
    return Example((asked, Message("assistant", f"Answer {number}.")), number, "set.jsonl")


MANY = [_example(number) for number in range(200)]


def test_a_split_is_a_partition_in_source_order() -> None:
    """Every row is on exactly one side, the sizes are as asked, and order is kept."""
    parts = split(MANY, 0.1, seed=3)
    assert (len(parts.train), len(parts.test)) == (180, 20)
    assert sorted(parts.train + parts.test, key=lambda item: item.row) == MANY
    assert list(parts.test) == sorted(parts.test, key=lambda item: item.row)


def test_a_split_is_seeded() -> None:
    """One seed always draws the same rows, another draws others."""
    assert split(MANY, seed=1) == split(MANY, seed=1)
    assert split(MANY, seed=1).test != split(MANY, seed=2).test


def test_a_split_does_not_depend_on_the_order_of_rows() -> None:
    """The same prompts are held out when the rows are shuffled; the fingerprint shows the order."""
    one, other = split(MANY), split(MANY[::-1])
    assert set(one.test) == set(other.test)
    assert fingerprint(one.test) != fingerprint(other.test)


def test_copies_of_a_prompt_stay_on_one_side() -> None:
    """Equal prompts, up to letter case and spacing, never straddle the split."""
    copies = [
        _example(n, f"{'same'.upper() if n % 2 else 'Same'}  question {n // 5}") for n in range(200)
    ]
    for seed in range(5):
        parts = split(copies, 0.2, seed)
        sides = [{item.row // 5 for item in part} for part in (parts.train, parts.test)]
        assert not sides[0] & sides[1]
        assert len(parts.test) == 40


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0])
def test_a_fraction_outside_zero_and_one_is_refused(fraction: float) -> None:
    """Neither side may be asked to be empty."""
    with pytest.raises(ConfigError, match="test_fraction"):
        split(MANY, fraction)


def test_an_empty_side_is_refused() -> None:
    """Copies of one prompt cannot be split, and ten rows have no hundredth."""
    with pytest.raises(DataError, match="nothing to test on"):
        split([_example(number, "Same?") for number in range(10)], 0.5)
    with pytest.raises(DataError, match="nothing to test on"):
        split(MANY[:10], 0.01)
