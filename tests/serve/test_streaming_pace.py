"""Slow judges, answers without end and many streams at once: what is held is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
from guarding.reading import REFUSAL, Reading, checking, having

from safeft.serve.exchange import exchange
from safeft.serve.guardroom import Guardroom
from safeft.serve.observer import Silent
from safeft.serve.settings import Settings
from safeft.serve.shapes import CHAT
from safeft.serve.streaming import Stream
from safeft.serve.upstream import Upstream
from serve.scripted import LONG, PATIENCE, Script, answered, chunk, proxied, sse
from serve.streamed import STREAM, content, events, plays


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
