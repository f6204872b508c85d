"""The check that all three servers make: one search for words, none of which the mock says.

No imports but the standard library's: each server reads this file in an environment of its own.
"""

from __future__ import annotations

import re

WORDS = (
    *("zugzwang", "quincunx", "syzygy", "ytterbium", "xylophage", "flibbertigibbet"),
    *("borborygmus", "gallimaufry", "mumpsimus", "pettifogger", "quockerwodger", "snickersnee"),
    *("taradiddle", "widdershins", "zoanthropy", "absquatulate", "bumfuzzle", "cattywampus"),
)
PATTERN = rf"(?i)\b(?:{'|'.join(WORDS)})\b"
WINDOW = 32
"""Tokens that are read before any of them leaves."""
_HELD = re.compile(PATTERN)


def held(text: str) -> bool:
    """Whether a text has one of the words."""
    return _HELD.search(text) is not None
