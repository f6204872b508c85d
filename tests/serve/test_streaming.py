"""Streams, as the official client reads them, over real sockets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import httpx
import openai
import pytest
from guarding.reading import REFUSAL, Reading, checking, having, raising, stage
from hypothesis import given
from hypothesis import settings as having_tried
from hypothesis import strategies as st

from safeft.guarding.decision import Decision
from safeft.guarding.gate import Gate
from safeft.serve.exchange import exchange
from safeft.serve.guardroom import Guardroom
from safeft.serve.observer import Silent
from safeft.serve.settings import Settings
from safeft.serve.shapes import CHAT
from safeft.serve.streaming import Stream
from safeft.serve.upstream import Upstream
from serve.scripted import (
    ASKED,
    LONG,
    PATIENCE,
    Place,
    Script,
    answered,
    choice,
    chunk,
    completion,
    proxied,
    sse,
    whole,
)

STREAM: dict[str, Any] = {"model": "m", "messages": ASKED, "stream": True}
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    stages = {"input": {}, "reasoning": {}, "tool_calls": {}}
    with proxied(checking(having("MARK"), **stages)) as found:
        yield found


def plays(place: Place, chunks: Sequence[Any], then: str = "end", *, done: bool = True) -> None:
    pieces = sse(chunks, done=done)
    place.upstream.answer = lambda _: Script(pieces, then=then)


def read(place: Place, **more: Any) -> list[Any]:
    """All chunks that the official client reads, of which it reads to [DONE]."""
    return list(place.client.chat.completions.create(**STREAM | more))


def events(place: Place, **more: Any) -> list[Any]:
    """The data of every event that a plain client gets."""
    raw = place.ask(STREAM | more).text
    assert raw.endswith("data: [DONE]\n\n")
    lines = [line[6:] for line in raw.split("\n\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines[:-1]]


def content(chunks: Sequence[Any], index: int = 0) -> str:
    found = [one for chunk in chunks for one in chunk.choices if one.index == index]
    return "".join(one.delta.content or "" for one in found)


def reasons(chunks: Sequence[Any]) -> list[tuple[int, str]]:
    return [
        (one.index, one.finish_reason)
        for chunk in chunks
        for one in chunk.choices
        if one.finish_reason
    ]


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


def cleared(text: str) -> tuple[int, bool]:
    """How much of a text its gate clears, and whether it is stopped."""
    gate = Gate(stage())
    for window in [*gate.feed(text), *gate.end()]:
        gate.settle(Decision("output", "block", "MARK" in window.read))
    return gate.cleared, gate.stopped is not None


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


def test_a_redacted_stream_goes_on(place: Place) -> None:
    """Its chunks are rewritten where a window was redacted, and nowhere else."""
    short = {"first_window": 4, "window": 4, "overlap": 0, "action": "redact"}
    texts = ["One is fine. ", "MARK is", " not. ", "Three is fine."]
    chunks = [one | {"odd": 1} for one in answered(texts)]
    with proxied(checking(having("MARK"), output=short)) as redacting:
        plays(redacting, chunks)
        got = events(redacting)
    said = "".join(one["choices"][0]["delta"].get("content") or "" for one in got)
    assert said == "One is fine.[removed] Three is fine."
    assert [one.get("odd") for one in got if "is fine" in json.dumps(one)][-1] == 1
    assert got[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_replaced_stream_ends_with_the_refusal() -> None:
    """Behind what had left, and as if it had ended by itself."""
    with proxied(checking(having("MARK"), output={"action": "replace"})) as place:
        plays(place, answered(["MARK"]), "stay")
        got = read(place)
        assert (content(got), reasons(got)) == (REFUSAL, [(0, "stop")])


def test_a_stream_is_asked_for_again_while_nothing_has_left() -> None:
    """With another seed, up to as often as the policy says; afterwards it is a block."""
    output = {"action": "regenerate", "regenerate": 2}
    with proxied(checking(having("MARK"), output=output)) as place:
        said = iter(["MARK", "MARK", "fine"])
        place.upstream.answer = lambda _: Script(sse(answered([next(said)])))
        got = read(place, seed=5)
        assert (content(got), reasons(got)) == ("fine", [(0, "stop")])
        assert len({one.json["seed"] for one in place.upstream.asked}) == 3
        plays(place, answered(["MARK"]))
        got = read(place)
        assert (content(got), reasons(got)) == (REFUSAL, [(0, "content_filter")])
        assert len(place.upstream.asked) == 6
        answers = iter([Script(sse(answered(["MARK"]))), Script(status=500)])
        place.upstream.answer = lambda _: next(answers)
        assert events(place)[-1]["error"]["code"] == "upstream_failed"


def test_optimistic_streams_leak_and_say_so() -> None:
    """Opt-in: text leaves before it is read, and what had left is counted."""
    with proxied(checking(having("MARK"), streaming="optimistic")) as place:
        plays(place, answered([f"MARK {LONG}"])[:-1], "stay")
        got = read(place)
        assert content(got) == f"MARK {LONG}" and reasons(got) == [(0, "content_filter")]
        place.observer.wait_for(1)
        assert place.observer.tokens > 10


def test_keep_alives_while_text_is_held() -> None:
    """Comments, which clients skip; the answer is not changed by them."""
    free = threading.Event()
    judge = Reading(lambda _: float(not free.wait(PATIENCE)))
    with proxied(checking(judge), keep_alive=0.05) as place:
        plays(place, answered([LONG]))
        seen = 0
        with place.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            said = ""
            for line in response.iter_lines():
                seen += line == ": keep-alive"
                if seen > 2:
                    free.set()
                said += line
        assert "one two" in said and said.endswith("[DONE]")


def test_what_is_held_is_bounded() -> None:
    """Chunks behind a word that never ends fill no memory; the same many pass when it does."""
    filler = [chunk({}) | {"numbers": [0] * 300}] * 200
    first, word, end = answered(["word"])
    with proxied(checking(having("MARK")), max_pending_bytes=30_000) as place:
        plays(place, [first, word, *filler], "stay")
        got = events(place)
        assert got[-1]["error"]["code"] == "upstream_malformed"
        assert "max_pending_bytes" in got[-1]["error"]["message"] and "word" not in str(got[:-1])
        plays(place, [first, *filler, word, end])
        assert events(place) == [first, *filler, word, end]


class Counted(httpx.AsyncByteStream):
    """An upstream's bytes, and how many pieces of them were taken."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces, self.taken = pieces, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            yield piece
            await asyncio.sleep(0)


def test_a_slow_judge_slows_the_upstream_down() -> None:
    """While it reads, so many bytes are taken and no more; afterwards all of them."""
    free, busy = threading.Event(), threading.Event()
    judge = Reading(lambda _: busy.set() or float(not free.wait(PATIENCE)))
    pieces = Counted(sse(answered([LONG] * 200)))

    async def run() -> bytes:
        limits = Settings(max_pending_bytes=5_000)
        room = Guardroom(checking(judge, output={"timeout": 60.0}), limits, Silent())
        with room.enter() as guard:
            behind = Upstream("http://127.0.0.1:9", limits)
            asked = exchange(CHAT, STREAM, b"{}", [], guard, behind, "0")
            made = Stream(asked, httpx.Response(200, stream=pieces), limits, Silent())
            parts = made.parts()
            out = [await anext(parts)]
            reading = asyncio.ensure_future(anext(parts))
            await asyncio.to_thread(busy.wait, PATIENCE)
            taken = -1
            while taken != pieces.taken:  # until nothing more is taken
                taken = pieces.taken
                await asyncio.sleep(0.05)
            assert sum(map(len, pieces.pieces[:taken])) < 5_000 + 2 * len(pieces.pieces[1])
            free.set()
            out += [await reading, *[one async for one in parts]]
        room.close()
        return b"".join(out)

    assert asyncio.run(run()) == b"".join(pieces.pieces)


def test_an_answer_has_a_longest_length() -> None:
    """An upstream that never ends is cut off."""
    with proxied(checking(having("MARK")), max_answer_bytes=20_000) as place:
        plays(place, answered([LONG] * 200), "stay")
        assert events(place)[-1]["error"]["code"] == "upstream_malformed"
        assert place.upstream.left.acquire(timeout=PATIENCE)


def test_many_streams_at_once_get_their_own_text() -> None:
    """32 of them, every other one blocked, checked in batches."""
    judge = having("MARK")

    def answer(body: dict[str, Any]) -> Script:
        name = body["messages"][0]["content"]
        bad = ["MARK "] if int(name) % 2 else []
        return Script(sse(answered([f"{name} is mine. {LONG}"] * 5 + bad + [f"{name} ends."])))

    async def run(url: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client:

            async def one(name: int) -> str:
                asked: Any = STREAM | {"messages": [{"role": "user", "content": str(name)}]}
                stream = await client.chat.completions.create(**asked)
                return content([chunk async for chunk in stream])

            return await asyncio.gather(*map(one, range(32)))

    with proxied(checking(judge, output={"timeout": 60.0})) as place:
        place.upstream.answer = answer
        for name, text in enumerate(asyncio.run(run(place.url))):
            whole_text = f"{name} is mine. {LONG}" * 5 + f"{name} ends."
            if name % 2:
                assert text == REFUSAL or whole_text.startswith(text)
            else:
                assert text == whole_text
        place.observer.wait_for(32)
        assert place.observer.present == 0
    assert len(judge.read) < len(judge.seen), "checks of many streams were put together"


def test_a_policy_is_changed_without_dropping_a_stream() -> None:
    """A stream ends by the policy that it began with; the next one gets the new one."""
    begun, go_on = threading.Event(), threading.Event()
    pieces = sse(answered([LONG, "MARK"]))

    async def held(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        kind = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        await send({"type": "http.response.body", "body": b"".join(pieces[:2]), "more_body": True})
        begun.set()
        await asyncio.to_thread(go_on.wait, PATIENCE)
        await send({"type": "http.response.body", "body": b"".join(pieces[2:])})

    old, new = checking(having("MARK"), name="old"), checking(having("other"), name="new")
    with proxied(old, held) as place:  # type: ignore[arg-type]
        with place.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            assert begun.wait(PATIENCE) and response.headers["x-safeft-policy"] == "old"
            place.app.state.guardroom.swap(new)
            go_on.set()
            assert "content_filter" in "".join(response.iter_text())
        with place.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            assert response.headers["x-safeft-policy"] == "new"
            assert "content_filter" not in "".join(response.iter_text())
