"""Server-sent events out of bytes in any pieces, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from safeft.serve.reading import UnreadableError

_LINE_END = re.compile(rb"\r\n|\n|\r")
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"


class Event(NamedTuple):
    """One event: its data, and its name where it has one."""

    data: str
    name: str = ""


class Events:
    """Feed it bytes; it gives the events that are complete.

    Lines end with LF, CR or CRLF, wherever the bytes were cut, and are UTF-8 each. At most `limit`
    bytes of one event are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: list[bytes] = []  # the line that has not ended
        self._open_size = 0
        self._data: list[str] = []
        self._name = ""
        self._size = 0  # bytes of the event that has not ended
        self._after_return = False  # a line feed would belong to the last line's end
        self._begun = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes, each before what follows is looked at.

        Raises UnreadableError.
        """
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        if not data:
            return
        self._after_return = data.endswith(b"\r")
        *lines, rest = _LINE_END.split(data)
        for line in lines:
            yield from self._read(self._closed(line))
        self._open.append(rest)
        self._open_size += len(rest)
        self._grow(len(rest))

    def end(self) -> Iterator[Event]:
        """The last event, when its end was left out. Raises UnreadableError."""
        yield from self._read(self._closed(b""))
        yield from self._read(b"")

    def _closed(self, line: bytes) -> bytes:
        """A whole line, from its last piece."""
        if not self._open:
            return line
        self._open.append(line)
        self._size -= self._open_size
        line = b"".join(self._open)
        self._open, self._open_size = [], 0
        return line

    def _read(self, line: bytes) -> Iterator[Event]:
        if not line:
            yield from self._complete()
            return
        self._grow(len(line))
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise UnreadableError("a line is not UTF-8") from error
        if not self._begun:
            text, self._begun = text.removeprefix("\ufeff"), True
        field, _, value = text.partition(":")
        if field == "data":
            self._data.append(value.removeprefix(" "))
        elif field == "event":
            self._name = value.removeprefix(" ")

    def _complete(self) -> Iterator[Event]:
        data, name = self._data, self._name
        self._data, self._name, self._size = [], "", 0
        if data:
            yield Event("\n".join(data), name)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise UnreadableError(f"an event is longer than {self._limit} bytes")


def framed(data: str) -> bytes:
    """One event with this data, which must hold no CR."""
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"{lines}\n".encode()
