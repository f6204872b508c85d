"""Cuts a growing text into windows of a sentence or some tokens, whatever chunks it comes in.

A token is counted as a tokenizer would about count it: five characters of a word, one ideograph,
one mark, one wide gap. Where a window ends depends on the text alone, so that a stream and a whole
answer are read in the same windows, and so that what a calibration saw is what is served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONG = 80  # characters of one word, or of one gap, that are waited for; what is longer is cut
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_PIECE = re.compile(
    rf"\s{{{_LONG}}}|\s*(?:[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]{{1,{_LONG}}}|[^\w\s])"
)
_WORD = re.compile(rf"[^\W{_IDEOGRAPHS}]+")
_ENDS = re.compile(r"[.!?…][\"')\]]*$")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text: where it lies, its words, and the words before it that are read too."""

    start: int
    text: str
    before: str = ""

    @property
    def stop(self) -> int:
        """The place behind its last character."""
        return self.start + len(self.text)

    @property
    def read(self) -> str:
        """What a judge reads."""
        return self.before + self.text


class Windows:
    """Feed it a text in any pieces; it gives the windows that are complete, then the rest.

    It keeps the present window and what is read with it, so that a piece costs as much at the end
    of a long text as at its beginning.
    """

    def __init__(self, size: int = 32, first: int = 16, overlap: int = 32) -> None:
        self._size, self._first, self._overlap = size, first, overlap
        self._kept, self._base = "", 0  # the text from that place on
        self._at = 0  # how far the text is cut into pieces
        self._start = 0  # where the present window starts
        self._before = 0  # and where what is read with it
        self._count = 0  # tokens in it
        self._pieces: list[tuple[int, int]] = []  # where each starts, and how many tokens it counts

    def feed(self, text: str) -> list[Window]:
        """The windows that `text` completed."""
        self._kept = self._kept[self._before - self._base :] + text
        self._base = self._before
        return self._found(ended=False)

    def end(self) -> list[Window]:
        """The windows of what is left, once nothing more comes."""
        found = self._found(ended=True)
        if self._start < (stop := self._base + len(self._kept)):
            self._at = stop  # white space behind the last piece
            found.append(self._close())
        return found

    def _found(self, *, ended: bool) -> list[Window]:
        found = []
        while (piece := self._piece()) and (ended or self._whole(piece)):
            if self._sentence_ended(piece.group()):
                found.append(self._close())
            count = tokens(piece.group())
            self._pieces.append((self._at, count))
            self._at += len(piece.group())
            self._count += count
            if self._count >= self._wanted:
                found.append(self._close())
        return found

    def _piece(self) -> re.Match[str] | None:
        return _PIECE.match(self._kept, self._at - self._base)

    def _whole(self, piece: re.Match[str]) -> bool:
        """Whether no further text could lengthen it: only words grow."""
        word = piece.group().lstrip()
        grows = _WORD.fullmatch(word) is not None and len(word) < _LONG
        return not grows or piece.end() < len(self._kept)

    @property
    def _wanted(self) -> int:
        return self._first if self._start == 0 else self._size

    def _sentence_ended(self, piece: str) -> bool:
        """Whether a sentence of at least half a window ended before a piece."""
        if 2 * self._count < self._wanted:
            return False
        said = self._part(self._start, self._at)
        space = piece[: len(piece) - len(piece.lstrip())]
        return (
            said.endswith(("。", "！", "？")) or "\n" in space or bool(space and _ENDS.search(said))
        )

    def _close(self) -> Window:
        start, self._start, self._count = self._start, self._at, 0
        before, self._before = self._before, self._context()
        return Window(start, self._part(start, self._start), self._part(before, start))

    def _part(self, start: int, stop: int) -> str:
        return self._kept[start - self._base : stop - self._base]

    def _context(self) -> int:
        """Where the words begin that are read with the present window; older ones are let go."""
        left, place, kept = self._overlap, self._start, 0
        for start, count in reversed(self._pieces):
            kept += 1
            if count > left:
                place = max(start, place - 5 * left)  # the end of a long word
                break
            left, place = left - count, start
        del self._pieces[: len(self._pieces) - kept]
        return place


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    return sum(max(1, -(-len(piece.strip()) // 5)) for piece in _PIECE.findall(text))
