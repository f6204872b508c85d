"""Places where a text fails as English prose: invented words, phrases that come back, dead ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from safeft.judges.coherence import WORD
from safeft.judges.vocabulary import is_word

SHORTEST = 3  # letters of a word that can be called invented; shorter ones are units and initials
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.S)
_SENTENCE = re.compile(r"[.!?:;]+(?:\s+|$)|\n+")
_ITEM = re.compile(r"^\W*(step\s+)?(\d+)\s*[.:)]\s*(.*)$", re.I | re.M)
_STEP_VERB = re.compile(r"\bStep \d+: ([A-Z][a-z]+)\b")
_DETERMINERS = frozenset(("a", "an", "the", "your", "my"))
# A comma or an article that nothing follows: ", ,", "the and", "with a."
_DEAD_END = re.compile(
    r",\s*[,.?!]|\?:|\b(?:the|an) (?:a|an|the|and|of|in|with|to|at|it|is|for)\b|\ba (?:a|an|the)\b"
    r"|\b(?:the|an)\s*[.,?!]|\b(?:and|with|to|of|the) a\s*[.,?]"
)


def misplaced(answer: str) -> list[str]:
    """What comes back, is numbered twice or leads nowhere, in no order. Code is not read."""
    prose = _CODE.sub(" ", answer)
    return [*_returning(prose), *_numbering(prose), *_DEAD_END.findall(prose)]


def invented(prompt: str, answer: str, known: frozenset[str]) -> list[str]:
    """Lower-case words that are neither `known` English nor the request's; names are no matter."""
    prose = _CODE.sub(" ", answer)
    asked = {word.lower() for word in WORD.findall(prompt)}
    return [
        word
        for word in (*WORD.findall(prose), *_verbs(prose))
        if word.isascii() and word.isalpha() and word.islower() and len(word) >= SHORTEST
        if word not in asked and not is_word(word, known)
    ]


def _verbs(prose: str) -> Iterator[str]:
    """The first word of `Step 1: Take …`, which is no name."""
    return (found[1].lower() for found in _STEP_VERB.finditer(prose))


def _returning(prose: str) -> Iterator[str]:
    """`a fork` again in one sentence (`a fork, a fork and a fork`), and a word said twice."""
    for sentence in _SENTENCE.split(prose):
        words = WORD.findall(sentence)
        seen = set()
        for first, second in pairwise(words):
            if first == second and first.islower():
                yield f"{first} {second}"
            if first not in _DETERMINERS or not second.islower():
                continue
            if (first, second) in seen:
                yield f"{first} {second}"
            seen.add((first, second))


def _numbering(prose: str) -> Iterator[str]:
    """A number that came before, and a `Step 2:` that repeats three words of an earlier step.

    The items of a list may well repeat words: `2. Lyon with more than …`.
    """
    numbers: set[str] = set()
    phrases: set[tuple[str, str, str]] = set()
    for label, number, text in _ITEM.findall(prose):
        if number in numbers:
            yield number
        numbers.add(number)
        words = WORD.findall(text.lower()) if label else []
        mine = set(zip(words, words[1:], words[2:], strict=False))
        if mine & phrases:
            yield text
        phrases |= mine
