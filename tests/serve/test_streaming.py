"""Streams, as the official client reads them, over real sockets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import openai
import pytest
from guarding.reading import REFUSAL
from hypothesis import given
from hypothesis import settings as having_tried
from hypothesis import strategies as st

from serve.scripted import (
    ASKED,
    LONG,
    PATIENCE,
    USAGE,
    Place,
    Script,
    answered,
    choice,
    chunk,
    completion,
    sse,
    whole,
)
from serve.streamed import STREAM, cleared, content, events, plays, read, reasons

words = st.lists(
    st.sampled_from(["one ", "deux, ", ". ", "三", "🙂", "\n", "\r", "MARK", "\u2028", '"\\']),
    max_size=50,
)


@st.composite
def framed(draw: st.DrawFn) -> tuple[str, list[int], list[bytes]]:
    """A text, where its chunks end, and the bytes of its stream in pieces as they are sent."""
    text = "".join(draw(words))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)) | {0, len(text)})
    chunks = answered([text[a:b] for a, b in pairwise(cuts)])
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    escaped = draw(st.booleans())
    raw = b"\xef\xbb\xbf" if draw(st.booleans()) else b""
    for one in [*chunks, None]:
        data = "[DONE]" if one is None else json.dumps(one, ensure_ascii=escaped)
        lines = [f"data:{draw(st.sampled_from(['', ' ']))}{data}"]
        lines += [": comment"] if draw(st.booleans()) else []
        lines += ["event: message", "id: 1"] if draw(st.booleans()) else []
        raw += f"{end.join(lines)}{end}{end}".encode()
    places = sorted(draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=8)))
    return text, cuts, [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]


@having_tried(max_examples=60, deadline=None)
@given(framed())
def test_what_is_released_is_a_prefix_of_what_was_cleared(
    place: Place, stream: tuple[str, list[int], list[bytes]]
) -> None:
    """For any text, chunking, framing, and cut of the bytes: no word of a blocked window leaves.

    The stream and the whole answer agree on what is blocked, and both end as the API says.
    """
    text, cuts, pieces = stream
    place.upstream.answer = lambda body: (
        Script(pieces) if body.get("stream") else whole(completion(choice(text)))
    )
    limit, blocked = cleared(text)
    chunks = events(place)
    said = "".join(one["delta"].get("content") or "" for each in chunks for one in each["choices"])
    ends = [one["finish_reason"] for each in chunks for one in each["choices"]]
    at_once = place.ask().json()["choices"][0]
    if not blocked:
        assert said == text == at_once["message"]["content"]
        assert [one for one in ends if one] == ["stop"]
        return
    assert [one for one in ends if one] == ["content_filter"] == [at_once["finish_reason"]]
    assert at_once["message"]["content"] == REFUSAL
    assert chunks[-1]["moderation"]["output"]["results"][0]["flagged"]
    released = said.removesuffix(REFUSAL)
    assert released in {text[:cut] for cut in cuts if cut <= limit}
    assert (released == said) == (released != ""), "the refusal alone, or cleared words alone"


def test_what_is_cleared_leaves_as_it_came(place: Place) -> None:
    """Roles, thoughts, tools, probabilities, usage: each chunk by itself, in order."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = call | {"function": {"arguments": '{"a": 1}'}}
    chunks = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning": "thought", "reasoning_content": "thought"}, token_ids=[4]),
        chunk({"content": "fine"}, logprobs={"content": [{"token": "fine", "logprob": -1.50}]}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [more]}, odd={"deep": [None]}),
        chunk({}, finish_reason="tool_calls", stop_reason=7),
        chunk() | {"usage": USAGE},
    ]
    plays(place, chunks)
    assert events(place) == chunks
    got = read(place, stream_options={"include_usage": True})
    assert got[-1].usage.total_tokens == 16
    assert reasons(got) == [(0, "tool_calls")]


def test_a_window_is_released_before_the_answer_ends(place: Place) -> None:
    """A stream stays one: what is cleared does not wait for what has not come."""
    sent, more = threading.Event(), sse(answered([LONG, LONG]))
    place.upstream.answer = lambda _: Script(more[:3], then="stay")
    with place.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
        for line in response.iter_lines():
            if "one two" in line:
                sent.set()
                break
    assert sent.is_set()
    assert place.upstream.left.acquire(timeout=PATIENCE), "the client left, and so does the proxy"


@pytest.mark.parametrize("include", [True, False])
def test_a_block_in_a_stream_looks_right(place: Place, include: bool) -> None:
    """One end of the choice, what was found, usage if asked for, [DONE]; the upstream is left."""
    chunks = answered([LONG, "all is well. MARK", LONG])[:-1]
    plays(place, [*chunks, chunk({"content": "MARK " * 100})], "stay")
    options = {"stream_options": {"include_usage": include}}
    got = read(place, **options)
    assert content(got) in ("", LONG, REFUSAL)
    assert reasons(got) == [(0, "content_filter")]
    assert "MARK" not in "".join(one.model_dump_json() for one in got)
    told = [one for one in got if one.moderation]
    assert len(told) == 1 and told[0].choices == []
    assert told[0].moderation.output.results[0].category_scores == {"unsafe": 1.0}
    assert (got[-1].usage is not None) == include
    if include:
        assert got[-1].usage.completion_tokens > 20 and got[-1].choices == []
    assert {one.id for one in got} == {"chatcmpl-1"}
    assert place.upstream.left.acquire(timeout=PATIENCE), "the upstream is aborted"


def test_the_async_client_reads_it_too(place: Place) -> None:
    """Whole and streamed."""
    plays(place, answered(["MARK"]), "stay")

    async def run() -> tuple[list[Any], str]:
        async with openai.AsyncOpenAI(base_url=f"{place.url}/v1", api_key="k") as client:
            chunks = [one async for one in await client.chat.completions.create(**STREAM)]
            place.upstream.answer = lambda _: whole(completion(choice("MARK")))
            answer = await client.chat.completions.create(model="m", messages=ASKED)
            return chunks, answer.choices[0].finish_reason

    chunks, reason = asyncio.run(run())
    assert (content(chunks), reasons(chunks)) == (REFUSAL, [(0, "content_filter")])
    assert reason == "content_filter"
    assert place.upstream.left.acquire(timeout=PATIENCE)


def test_one_of_two_choices_is_withheld_and_the_other_goes_on(place: Place) -> None:
    """In its own order, to its own end; usage comes behind both."""
    bad, good = answered(["MARK", LONG], 0), answered([LONG, "end"], 1)
    mixed = [one for pair in zip(bad, good, strict=True) for one in pair]
    plays(place, [*mixed, chunk() | {"usage": USAGE}])
    got = read(place, n=2, stream_options={"include_usage": True})
    assert (content(got, 0), content(got, 1)) == (REFUSAL, f"{LONG}end")
    assert sorted(reasons(got)) == [(0, "content_filter"), (1, "stop")]
    assert [bool(one.moderation) for one in got[-2:]] == [True, False]
    flagged = [one.flagged for one in got[-2].moderation.output.results]
    assert (flagged, got[-1].usage.total_tokens) == ([True, False], 16)


def test_choices_that_share_a_chunk_do_not_share_their_fate(place: Place) -> None:
    """A chunk of two is taken apart."""
    both = chunk({"content": "MARK"})
    both["choices"].append({"index": 1, "delta": {"content": "fine"}, "finish_reason": None})
    ends = [chunk({}, 0, finish_reason="stop"), chunk({}, 1, finish_reason="length")]
    plays(place, [both, *ends])
    got = read(place, n=2)
    assert (content(got, 0), content(got, 1)) == (REFUSAL, "fine")
    assert sorted(reasons(got)) == [(0, "content_filter"), (1, "length")]


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "MARK"},
        {"reasoning_content": "MARK"},
        {"refusal": "MARK"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "MARK"}}]},
        {"tool_calls": [{"index": 0, "function": {"name": "MARK"}}]},
        {"function_call": {"name": "f", "arguments": "MARK"}},
        {"field_of_tomorrow": ["MARK"]},
        {"content": [{"type": "text", "text": "MARK"}]},
    ],
    ids=range(8),
)
def test_every_text_of_a_stream_is_read(place: Place, delta: dict[str, Any]) -> None:
    """Wherever it stands, and though it comes in two halves where it can."""
    plays(place, [chunk({"role": "assistant"}), chunk(delta), chunk({}, finish_reason="stop")])
    got = events(place)
    assert "MARK" not in json.dumps(got)
    ends = [one["finish_reason"] for each in got for one in each["choices"]]
    assert [one for one in ends if one] == ["content_filter"]


def test_text_beside_the_choices_is_read(place: Place) -> None:
    """In a chunk of a choice, and in one of none: that withholds every choice that has not left."""
    chunks = answered(["fine"])
    plays(place, [chunks[0], chunks[1] | {"verbose": "MARK"}, chunks[2]])
    assert "MARK" not in json.dumps(events(place))
    plays(place, [chunks[0], chunk() | {"verbose": "MARK"}, *chunks[1:]])
    got = events(place)
    assert "MARK" not in json.dumps(got)
    assert [one["finish_reason"] for each in got for one in each["choices"]][-1] == "content_filter"
    assert "moderation" in got[-1] and "fine" not in json.dumps(got)


def test_completions_stream_too(place: Place) -> None:
    """In their own shape."""
    made = [
        {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [one]}
        for one in (
            {"index": 0, "text": LONG, "finish_reason": None},
            {"index": 1, "text": "MARK", "finish_reason": None, "logprobs": {"tokens": ["MARK"]}},
            {"index": 0, "text": "end", "finish_reason": "stop"},
            {"index": 1, "text": "", "finish_reason": "stop"},
        )
    ]
    plays(place, made)
    got = list(place.client.completions.create(model="m", prompt=["a", "b"], stream=True))
    texts = ["", ""]
    for one in (one for each in got for one in each.choices):
        texts[one.index] += one.text
    assert texts == [f"{LONG}end", REFUSAL]
    assert sorted(reasons_of(got)) == [(0, "stop"), (1, "content_filter")]
    assert got[-1].model_extra["moderation"]["output"]["type"] == "moderation_results"


def reasons_of(chunks: Sequence[Any]) -> list[tuple[int, str]]:
    return [(c.index, c.finish_reason) for one in chunks for c in one.choices if c.finish_reason]


def test_a_withheld_request_is_a_stream_too(place: Place) -> None:
    """Which ends as a block does, and the upstream is not asked."""
    before = len(place.upstream.asked)
    asked = [{"role": "user", "content": "MARK"}]
    got = read(place, messages=asked, n=2, stream_options={"include_usage": True})
    assert (content(got, 0), content(got, 1)) == (REFUSAL, REFUSAL)
    assert reasons(got) == [(0, "content_filter"), (1, "content_filter")]
    assert got[-2].moderation.input.results[0].flagged and got[-1].usage.total_tokens == 0
    assert len(place.upstream.asked) == before
