"""Seeded train/test splits by source row, with every copy of a prompt on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from safeft.data.formats import Example
from safeft.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Split:
    """Two disjoint parts, each in the order of the source."""

    train: tuple[Example, ...]
    test: tuple[Example, ...]


def split(examples: Sequence[Example], test_fraction: float = 0.1, seed: int = 0) -> Split:
    """Hold out at most `test_fraction` of the rows, and never part of a group of equal prompts.

    Groups are drawn in the order of a seeded hash of their prompt, so neither the order of the
    rows nor the Python version changes which are drawn. Split before any transform that makes
    several examples of one row. Raises ConfigError for a fraction outside (0, 1), DataError when
    a side would be empty.
    """
    if not 0 < test_fraction < 1:
        raise ConfigError(f"test_fraction: expected between 0 and 1, found {test_fraction}")
    held = _held_out(examples, round(test_fraction * len(examples)), seed)
    train = tuple(item for item in examples if _key(item) not in held)
    test = tuple(item for item in examples if _key(item) in held)
    if not train or not test:
        raise DataError(
            f"split: {len(examples)} rows leave nothing to {'test' if train else 'train'} on at "
            f"test_fraction {test_fraction}; give more distinct prompts or a larger fraction"
        )
    return Split(train, test)


def _key(item: Example) -> str:
    """The prompt without its letter case and spacing: what makes two rows copies."""
    return " ".join(item.prompt.casefold().split())


def _held_out(examples: Sequence[Example], target: int, seed: int) -> set[str]:
    """The prompts to hold out: groups in hash order, each taken if it fits in `target` rows."""
    sizes: dict[str, int] = {}
    for item in examples:
        sizes[_key(item)] = sizes.get(_key(item), 0) + 1
    held: set[str] = set()
    room = target
    for prompt in sorted(sizes, key=lambda text: _draw(text, seed)):
        if sizes[prompt] <= room:
            held.add(prompt)
            room -= sizes[prompt]
    return held


def _draw(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{text}".encode()).digest()
