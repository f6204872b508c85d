"""Server-sent events: however the bytes are cut and framed, the events are the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.serve.reading import UnreadableError
from safeft.serve.sse import KEEP_ALIVE, Event, Events, framed

LIMIT = 10_000
# Whatever a JSON text may hold; line ends among them would be escaped there.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Event], bytes]:
    """Events, and one of the many ways to write them."""
    end = draw(ends)
    out = draw(st.sampled_from([b"", "\ufeff".encode()]))
    events = []
    for text in draw(st.lists(texts, max_size=5)):
        data, name = json.dumps(text, ensure_ascii=False), draw(st.sampled_from(["", "error"]))
        lines = [f"event: {name}".encode()] if name else []
        lines += [b": comment"] if draw(st.booleans()) else []
        split = draw(st.integers(0, len(data)))
        parts = [data] if draw(st.booleans()) else [data[:split], data[split:]]
        space = draw(st.sampled_from(["", " "]))
        # Without the space that a reader takes away, a value must not begin with one.
        space = " " if any(part.startswith(" ") for part in parts) else space
        lines += [f"data:{space}{part}".encode() for part in parts]
        lines += [b"id: 7", b"unknown"] if draw(st.booleans()) else []
        out += b"".join(line + end for line in lines) + end
        out += KEEP_ALIVE if draw(st.booleans()) else b""
        events.append(Event("\n".join(parts), name))
    return events, out


@given(streams(), st.data())
def test_events_do_not_depend_on_how_bytes_are_cut(
    stream: tuple[list[Event], bytes], data: st.DataObject
) -> None:
    """Not inside a character, not between CR and LF, not inside a field's name."""
    events, raw = stream
    reader, found, at = Events(LIMIT), [], 0
    while at < len(raw):
        size = data.draw(st.integers(1, 7))
        found += reader.feed(raw[at : at + size])
        at += size
    assert found + list(reader.end()) == events
    at_once = Events(LIMIT)
    assert [*at_once.feed(raw), *at_once.end()] == events


@given(st.lists(texts.filter(lambda one: "\r" not in one), min_size=1, max_size=4))
def test_what_is_framed_is_read_back(given: list[str]) -> None:
    """Of any data, lines included."""
    reader = Events(LIMIT)
    raw = b"".join(framed(one) for one in given)
    assert [event.data for event in reader.feed(raw)] == given


def test_an_event_whose_end_was_left_out_counts_at_the_end() -> None:
    """Some servers close right behind [DONE]."""
    reader = Events(LIMIT)
    assert list(reader.feed(b"data: a\n\ndata: [DONE]")) == [Event("a")]
    assert list(reader.end()) == [Event("[DONE]")]
    assert list(reader.end()) == []


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
def test_what_is_not_utf8_is_refused(bad: bytes) -> None:
    """Also when the line that holds it came in pieces; what was complete before it is given."""
    found = Events(LIMIT).feed(b"data: a\n\ndata: " + bad + b"\n\n")
    assert next(found) == Event("a")
    with pytest.raises(UnreadableError, match="UTF-8"):
        next(found)
    cut = Events(LIMIT)
    assert list(cut.feed(b"data: " + bad)) == []
    with pytest.raises(UnreadableError, match="UTF-8"):
        list(cut.feed(b"\n"))


@pytest.mark.parametrize("line", [b"data: " + b"x" * 50, b"data: xx\n" * 10, b": " + b"x" * 50])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_has_a_longest_length(line: bytes, size: int) -> None:
    """In one line or in many, which ends or does not."""
    reader = Events(40)
    cut = [line[at : at + size] for at in range(0, len(line), size)]
    with pytest.raises(UnreadableError, match="longer than 40"):
        _ = [list(reader.feed(one)) for one in cut]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_length_is_that_of_one_event(size: int) -> None:
    """However many come, and in whatever pieces, none of them too long."""
    raw, reader = b"data: 1234567890\n\n" * 20, Events(40)
    found = [event for at in range(0, len(raw), size) for event in reader.feed(raw[at : at + size])]
    assert found == [Event("1234567890")] * 20
