"""JSON is read so that no other reader finds anything else in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.serve.reading import UnreadableError, read_object, whole, write

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_objects_are_read_and_written(value: dict[str, object]) -> None:
    """As bytes and as text, in ASCII and not."""
    for escaped in (True, False):
        text = json.dumps(value, ensure_ascii=escaped)
        assert read_object(text) == read_object(text.encode()) == value
    assert read_object(write(value)) == value
    assert write(value).isascii()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (b'{"a": [{"b": 1, "\\u0062": 2}]}', "given twice"),
        (b'{"a": "\xff"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_two_readers_may_read_differently_is_refused(raw: bytes, problem: str) -> None:
    """And the message says what is wrong."""
    with pytest.raises(UnreadableError, match=problem):
        read_object(raw)


@given(st.text(), st.integers(0, 20))
def test_halves_of_characters_are_put_together(text: str, at: int) -> None:
    """As when a chunk ends within an emoji that is escaped as a pair; a lone half is replaced."""
    units = text.encode("utf-16-be", "surrogatepass")
    halves = [
        units[place : place + 2].decode("utf-16-be", "surrogatepass")
        for place in range(0, len(units), 2)
    ]
    apart = "".join(halves[:at]) + "".join(halves[at:])
    assert whole(apart) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    whole(apart).encode()
    assert whole("\ud83d") == "\ufffd"
