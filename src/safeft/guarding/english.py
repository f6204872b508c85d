"""How much letters read like English, and which letter cipher would make them read so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from safeft.data.codes import mirrored, shifted
from safeft.errors import ModelError
from safeft.judges.vocabulary import english, is_word

if TYPE_CHECKING:
    from numpy.typing import NDArray

# −2 ln P(the next letter | a letter), rounded, at most 18 (i): a row for a word's edge and for each
# letter, a column for what comes next, in the same order. Counted in databricks-dolly-15k.
_SURPRISE = (
    "0466776875aa76856d7549a6f9e 5e867da8c7c9563f8f45498ad8c 84abd3hgc5ai5ce4gh58c5gfi5i "
    "64g8e4hh45i66fg3fe6a57iii9g 16ed94ebc5ehacc6ef87f7bbiai 26b75899d9hd785a9c457c8a9af "
    "26feg56fi4hf7gi3hi5c77iiiai 25efb4f955ih7c76ei58a6idi9h 44ege2hii4ihbca5fh8c89hdi9i "
    "87a57687gdga67359d744c7hcga 73hec4eid6ccfdd29iabe3eeifi 36cdd3cca4fc8967ci95b9gcg9h "
    "44bc64adf4ib4ae5aie777bdi5i 437cg3dfg5ihd7d45ie7f7ffi9i 36d645a4d6daac97fgd659bfh9e "
    "49988b59c9ea66377h477587cbf 54eee4ed66ig4af46i4876hgibi 69ihieiih9if9ihefecif0fiiii "
    "35b873b8d5i98885bh9668adi7h 28e8f5cg75iaaac67de647hbiai 36cbg4eh34iiade5ei6798f9i8e "
    "667676b7g7fb564c7i445fdgdce 94hge1igi3iiegh6didcgciiibi 53cfd4fi33idaf64hi88bgieidi "
    "35b6g5af94iiddg93hfc3addc9i 18caa6edg9ih99a58ib6acichhe 53bcd2id94ibabc5ciebc7fcg96 "
)
_PAIRS = np.array([[int(one, 36) for one in row] for row in _SURPRISE.split()], dtype=np.int16)
"""The surprise of each pair of letters in half nats: shape (27, 27), of edge, a, b, … z."""

_SHIFTS = tuple(range(1, 26))
_CIPHERS = np.array(
    [[0, *((place - by) % 26 + 1 for place in range(26))] for by in _SHIFTS]
    + [[0, *(26 - place for place in range(26))]],
    dtype=np.int16,
)
"""What each letter stands for, under each shift and then under Atbash: shape (26, 27)."""

_DECODED = np.array([_PAIRS[np.ix_(one, one)].ravel() for one in _CIPHERS])
"""The surprise of each pair of letters once it is decoded: shape (26, 27 × 27)."""

GAIN = 20
"""Nats that a stretch of words must win by being decoded: three words or so of English.

Half of it is enough where a vocabulary knows each of them, and most of the letters as they are not.
"""

WORD = 3.6
"""Nats a pair, at most, of a word that wins: English words have 2 to 3.5, letters at random 5."""

LOSS = 0.5
"""Nats a pair that a word beside such a stretch may lose and still belong to it."""

_WORD = re.compile(r"(?<![\w'’+/=])[A-Za-z]+(?:['’][A-Za-z]+)?(?![\w'’+/=])")
_PAUSE = re.compile(r"[.,:;!?\n]")
_BLOCK = 200  # words that are searched at once, which bounds memory and time


def surprise(text: str) -> float:
    """The mean surprise in nats of a text's pairs of letters, edges of words included.

    About 2.4 for English and 5 for letters at random; infinite where there is no Latin letter.
    """
    words = re.findall(r"[a-z]+", text.lower())
    if not words:
        return float("inf")
    codes = _codes(words)
    return float(_PAIRS[codes[:-1], codes[1:]].mean()) / 2


def _codes(words: Sequence[str]) -> NDArray[np.int16]:
    """The words' letters as 1 to 26, and 0 for an edge, which two words share."""
    joined = f" {' '.join(words)} ".encode("ascii")
    codes = np.frombuffer(joined, dtype=np.uint8).astype(np.int16) - (ord("a") - 1)
    return np.maximum(codes, 0)


def solved(text: str) -> str:
    """The text with each stretch of words in a shifted or mirrored alphabet put into English.

    A stretch is decoded when its words win `GAIN` nats over the letters as they are; MiniLM's
    vocabulary says where it ends. Ciphers of other languages than English are not found.
    """
    words = list(_WORD.finditer(text))
    found = list(_stretches([one.group() for one in words]))
    out, at, done = "", 0, 0
    for place, (first, stop, cipher) in enumerate(found):
        follows = found[place + 1][0] if place + 1 < len(found) else len(words)
        first -= _more(text, words[done:first][::-1], cipher)
        done = stop + _more(text, words[stop:follows], cipher)
        start, end = words[first].start(), words[done - 1].end()
        out += text[at:start] + _decoded(text[start:end], cipher)
        at = end
    return out + text[at:]


def _decoded(text: str, cipher: int) -> str:
    return shifted(text, -_SHIFTS[cipher]) if cipher < len(_SHIFTS) else mirrored(text)


def _stretches(words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """First word, the one behind the last, and the cipher, in order."""
    for start in range(0, len(words), _BLOCK):
        yield from _within(words, start, min(start + _BLOCK, len(words)))


def _within(words: Sequence[str], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The best stretch between two places, and what lies on both sides of it."""
    found = _best(words[start:stop]) if start < stop else None
    if found is not None:
        first, last, cipher = start + found[0], start + found[1], found[2]
        yield from _within(words, start, first)
        yield first, last, cipher
        yield from _within(words, last, stop)


def _more(text: str, words: Sequence[re.Match[str]], cipher: int) -> int:
    """How many of the words beside a stretch, in order of distance, belong to it.

    Of two short words letters tell nothing: `Elt al` is as likely as `How do`. So those belong to
    it that are English decoded, up to one that is not as it is, or to the end of their clause.
    """
    found = 0
    for place, word in enumerate(words, 1):
        if not _english(_decoded(word.group(), cipher)):
            return found
        beside = words[place] if place < len(words) else None
        if (
            beside is None
            or _PAUSE.search(_between(text, word, beside))
            or not _english(word.group())
        ):
            found = place
    return found


def _between(text: str, one: re.Match[str], other: re.Match[str]) -> str:
    return text[min(one.end(), other.end()) : max(one.start(), other.start())]


def _english(word: str) -> bool:
    try:
        return is_word(word.lower(), english())
    except ModelError:  # without MiniLM there is no vocabulary: letters alone decide
        return False


def _spelled(words: Sequence[str], cipher: int) -> bool:
    """Whether each of several words is English decoded, and most are not as they are."""
    decoded = all(_english(_decoded(one, cipher)) for one in words)
    return decoded and sum(not _english(one) for one in words) > max(2, len(words) / 2)


def _best(words: Sequence[str]) -> tuple[int, int, int] | None:
    """The run of words that wins most by one cipher: the largest sum of any run, for each."""
    codes = _codes([one.lower().replace("'", "").replace("’", "") for one in words])
    pairs = codes[:-1] * np.int16(27) + codes[1:]
    edges = np.flatnonzero(codes[:-1] == 0)
    lengths = np.diff(edges, append=len(codes) - 1)
    decoded = np.add.reduceat(np.take(_DECODED, pairs, axis=1), edges, axis=1, dtype=np.int64)
    as_it_is = np.add.reduceat(np.take(_PAIRS, pairs), edges, dtype=np.int64)
    # A letter alone becomes `a` or `I` under some shift whatever it is. A word that does not become
    # readable wins nothing, so that words of no language cannot lead away from those of one.
    spare = (2 * WORD * lengths).astype(np.int64) - decoded
    won = np.where(spare < 0, np.minimum(as_it_is - decoded, spare), as_it_is - decoded)
    won = np.where(lengths > 2, won, 0)
    sums = np.zeros((len(won), len(words) + 1), dtype=np.int64)
    np.cumsum(won, axis=1, out=sums[:, 1:])
    least = np.minimum.accumulate(sums, axis=1)
    cipher, stop = map(int, np.unravel_index((sums - least).argmax(), sums.shape))
    first = int(np.flatnonzero(sums[cipher, : stop + 1] == least[cipher, stop])[-1])
    gain = sums[cipher, stop] - sums[cipher, first]
    if gain < GAIN or (gain < 2 * GAIN and not _spelled(words[first:stop], cipher)):
        return None
    # A rare word at an end may lose a little: an English one that does not belong loses more.
    kept = won[cipher] > -2 * LOSS * lengths
    while first > 0 and kept[first - 1]:
        first -= 1
    while stop < len(words) and kept[stop]:
        stop += 1
    return first, stop, cipher
