"""Streams that break, and guards that fail: a typed error, behind what was cleared by then."""

from __future__ import annotations

import json

import openai
import pytest
from guarding.reading import Reading, checking, having, raising

from serve.scripted import LONG, PATIENCE, Place, Script, answered, proxied, sse
from serve.streamed import content, events, plays, read


@pytest.mark.parametrize(
    ("pieces", "then", "code"),
    [
        ([], "end", "upstream_failed"),
        ([], "cut", "upstream_failed"),
        ([b'data: {"choices": [{"index": 0, "delta": {"cont'], "cut", "upstream_failed"),
        ([b'data: {"choices": [{"index": 0, "delta": {"cont'], "end", "upstream_malformed"),
        ([b"data: {\n\n"], "end", "upstream_malformed"),
        ([b"data: []\n\n"], "end", "upstream_malformed"),
        ([b"data: \xff\n\n"], "end", "upstream_malformed"),
        ([b"data: {}\n\n"], "end", "upstream_malformed"),
        ([b'data: {"choices": 7}\n\n'], "end", "upstream_malformed"),
        ([b'data: {"choices": [{"index": 5, "delta": {}}]}\n\n'], "end", "upstream_malformed"),
        ([b'data: {"choices": [], "choices": []}\n\n'], "end", "upstream_malformed"),
        ([b'data: {"error": {"message": "out of memory"}}\n\n'], "stay", "upstream_failed"),
        ([b'event: error\ndata: {"choices": []}\n\n'], "stay", "upstream_failed"),
        ([b'{"choices": [{"index": 0, "message": {}}]}'], "end", "upstream_failed"),
        ([b"data: " + b"x" * 5000], "stay", "upstream_malformed"),
        (
            [b'data: {"choices": [{"index": 0, "delta": {"content": 1}}]}\n\n'],
            "end",
            "upstream_malformed",
        ),
        ([b": waiting\n\n"], "stay", "upstream_failed"),
    ],
    ids=range(17),
)
def test_a_stream_that_breaks_ends_in_a_typed_error(
    pieces: list[bytes], then: str, code: str
) -> None:
    """Behind what was cleared by then; what was not, never leaves."""
    begun = sse(answered([LONG, " secret and unfinished"])[:3], done=False)
    waiting = pieces == [b": waiting\n\n"]
    limits = {"max_pending_bytes": 4000, "read_timeout": 0.3 if waiting else PATIENCE}
    with proxied(checking(having("MARK")), **limits) as place:
        place.upstream.answer = lambda _: Script([*begun, *pieces], then=then)
        got = events(place)
        assert got[-1]["error"]["code"] == code
        assert "secret" not in json.dumps(got)
        with pytest.raises(openai.APIError) as raised:
            read(place)
        assert raised.value.code == code
        place.observer.wait_for(2)
        assert {one for _, one in place.observer.requests} == {504 if waiting else 502}


def test_an_end_without_done_is_one_where_every_choice_has_ended(place: Place) -> None:
    """Some servers leave [DONE] out; without a reason to end it is a failure."""
    plays(place, answered([LONG]), done=False)
    assert content(read(place)) == LONG
    plays(place, answered([LONG])[:-1])
    assert content(read(place)) == LONG, "[DONE] alone is an end as well"
    plays(place, [*answered(["a"], 0), *answered(["b"], 1)[:-1]], done=False)
    assert events(place, n=2)[-1]["error"]["code"] == "upstream_failed"


def test_a_failure_of_the_guard_is_a_typed_error(place: Place) -> None:
    """And never a finish reason; where the policy is open, the answer leaves unread."""
    chunks = answered([LONG, LONG])
    with proxied(checking(Reading(raising))) as closed:
        plays(closed, chunks, "stay")
        got = events(closed)
        assert got[-1]["error"]["code"] == "guard_failed"
        assert got[-1]["moderation"]["output"]["type"] == "error"
        assert "one two" not in json.dumps(got) and "content_filter" not in json.dumps(got)
        assert closed.upstream.left.acquire(timeout=PATIENCE)
        closed.observer.wait_for(1)
        assert closed.observer.requests == [("/v1/chat/completions", 503)]
    with proxied(checking(Reading(raising), output={"on_error": "open"})) as opened:
        plays(opened, chunks)
        assert events(opened) == chunks
