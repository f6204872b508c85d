"""Laws of guarded streams: what has left is a prefix of what a whole answer would release."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.reading import REFUSAL, Reading, checking, having, prompts, raising, windows
from safeft.generation.scripted import Scripted
from safeft.guarding import Guarded
from safeft.guarding.decision import Decision
from safeft.guarding.releasing import redrawn
from safeft.guarding.streaming import GuardedStream
from safeft.guarding.windows import tokens
from safeft.records import Decoding, Prompt, Response, Verdict

GREEDY, WARM = Decoding(), Decoding(0.7, 5)
(PROMPT,) = prompts("a")
KEYS = {"window": 4, "first_window": 4, "overlap": 2}


class Streaming(Scripted):
    """Says `script(prompt, decoding)` in pieces of `size` characters; `told` are those it gave."""

    def __init__(
        self, script: Callable[[Prompt, Decoding], str], size: int = 3, lost: bool = False
    ) -> None:
        super().__init__(script)
        self.size, self.lost = size, lost
        self.told: list[str] = []
        self.asked: list[int] = []
        self.closed = 0

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        self.asked.append(decoding.seed)
        text = self.script(prompt, decoding)
        try:
            for start in range(0, len(text), self.size):
                self.told.append(text[start : start + self.size])
                yield self.told[-1]
            if self.lost:
                raise OSError("the line is dead")
        finally:
            self.closed += 1


def always(text: str, **options: Any) -> Streaming:
    return Streaming(lambda prompt, decoding: text, **options)


WORDS = st.lists(st.sampled_from(["good", "bad", "so", "Yes.", "中文"]), max_size=40).map(" ".join)


@settings(deadline=None)
@given(WORDS, st.integers(1, 12), st.sampled_from(["block", "redact", "replace", "log"]))
def test_a_stream_releases_what_a_whole_answer_would(text: str, size: int, action: str) -> None:
    """In any pieces: all of it, or what came before the window that was held back."""
    made = checking(having("bad"), output=KEYS | {"action": action})
    stream = Guarded(always(text, size=size), made).stream(PROMPT, GREEDY)
    left = "".join(stream)
    (whole,) = Guarded(always(text), made)([PROMPT], GREEDY)
    if stream.decision is None:
        assert left == whole.text
        return
    before = ""
    for window in windows(text, 4, 4, 2):
        if "bad" in window.read:
            break
        before += window.text
    assert whole.text == REFUSAL
    assert left == (before or REFUSAL)
    assert (stream.decision.action, stream.leaked) == (action, 0)


def test_what_cannot_be_streamed_is_answered_whole() -> None:
    """And then released in the same windows."""
    text = "So good so good. Now bad things come of it. The end."
    made = checking(having("bad"), output=KEYS)
    streams = [
        Guarded(one, made).stream(PROMPT, GREEDY)
        for one in (Scripted(lambda prompt, decoding: text), always(text))
    ]
    whole, pieces = map(list, streams)
    assert "".join(whole) == "".join(pieces) == "So good so good"
    assert streams[0].decision == streams[1].decision


def test_a_blocked_prompt_is_never_asked() -> None:
    """The refusal is all that comes."""
    generator = always("good")
    stream = Guarded(generator, checking(having("a"), input={})).stream(PROMPT, GREEDY)
    assert list(stream) == [REFUSAL]
    assert stream.decision is not None and stream.decision.stage == "input"
    assert generator.asked == []


class Waiting(Reading):
    """Reads a window only once `go` is set; `begun` is set as soon as it is asked."""

    def __init__(self, *words: str) -> None:
        super().__init__(having(*words).score)
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        self.begun.set()
        assert self.go.wait(60)
        return super().__call__(responses)


def test_a_window_is_read_while_the_next_one_is_written() -> None:
    """The generator goes on while the judge reads, and nothing leaves until it has read."""
    judge = Waiting()
    written: list[str] = []

    class Watched(Scripted):
        def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
            for piece in ("One two three four five. ", "Six ", "seven ", "eight"):
                yield piece
                written.append(piece)
            assert judge.begun.wait(60)
            judge.go.set()

    made = checking(judge, output=KEYS)
    stream = Guarded(Watched(lambda p, d: ""), made).stream(PROMPT, GREEDY)
    assert "".join(stream) == "One two three four five. Six seven eight"
    assert stream.decision is None
    assert len(written) == 4


def test_a_generation_that_is_blocked_is_ended() -> None:
    """It would never end by itself, and nobody will read the rest."""
    closed = []

    class Endless(Scripted):
        def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
            try:
                yield "bad news first. "
                while True:
                    yield "and so on it goes "
            finally:
                closed.append(True)

    made = checking(having("bad"), output=KEYS)
    assert list(Guarded(Endless(lambda p, d: ""), made).stream(PROMPT, GREEDY)) == [REFUSAL]
    assert closed == [True]


def test_a_generation_that_nobody_reads_is_ended() -> None:
    """When the stream is closed, the source is closed with it, and the iteration is over."""
    generator = always("One two three four. " * 50)
    stream = Guarded(generator, checking(having(), output=KEYS)).stream(PROMPT, GREEDY)
    next(stream)
    stream.close()
    assert generator.closed == 1
    assert list(stream) == []


def test_an_answer_is_asked_for_again_while_nothing_has_left() -> None:
    """With other seeds, as a whole answer is."""
    good = redrawn(WARM, 2).seed
    generator = Streaming(lambda prompt, decoding: "good" if decoding.seed == good else "bad")
    made = checking(having("bad"), output=KEYS | {"action": "regenerate", "regenerate": 3})
    stream = Guarded(generator, made).stream(PROMPT, WARM)
    assert "".join(stream) == "good"
    assert stream.decision is None
    assert generator.asked == [5, redrawn(WARM, 1).seed, good]


@pytest.mark.parametrize(
    ("text", "decoding", "left", "asked"),
    [
        ("bad news", WARM, REFUSAL, 3),
        ("bad news", GREEDY, REFUSAL, 1),
        ("So good so good. bad news", WARM, "So good so good", 1),
    ],
)
def test_an_answer_that_cannot_be_asked_for_again_is_held_back(
    text: str, decoding: Decoding, left: str, asked: int
) -> None:
    """After as many times as allowed, at temperature 0, and once something has left."""
    generator = always(text)
    made = checking(having("bad"), output=KEYS | {"action": "regenerate", "regenerate": 2})
    stream = Guarded(generator, made).stream(PROMPT, decoding)
    assert "".join(stream) == left
    assert stream.decision is not None and stream.decision.action == "regenerate"
    assert len(generator.asked) == asked


@pytest.mark.parametrize(("on_error", "left"), [("closed", REFUSAL), ("open", "good news")])
def test_a_failure_is_no_block(on_error: str, left: str) -> None:
    """The decision says that nobody could tell; `open` lets the text out."""
    made = checking(Reading(raising), output={"on_error": on_error})
    stream = Guarded(always("good news"), made).stream(PROMPT, GREEDY)
    assert "".join(stream) == left
    found = None if stream.decision is None else (stream.decision.outcome, stream.decision.error)
    assert found == (("error", "failed") if on_error == "closed" else None)


def test_what_the_source_raises_is_raised() -> None:
    """After what was cleared; what was not is lost, and the end is never taken for one."""
    generator = always("One two three four. Five six", lost=True)
    stream = Guarded(generator, checking(having(), output=KEYS)).stream(PROMPT, GREEDY)
    left = []
    with pytest.raises(OSError, match="the line is dead"):
        left += stream
    assert "One two three four. Five six".startswith("".join(left))


@settings(deadline=None)
@given(WORDS, st.integers(1, 12))
def test_optimistic_streams_say_what_leaked(text: str, size: int) -> None:
    """Nothing is held, whatever the judge says later; the count is of what had come until then."""
    made = checking(having("bad"), output=KEYS, streaming="optimistic")
    generator = always(text, size=size)
    stream = Guarded(generator, made).stream(PROMPT, GREEDY)
    left = "".join(stream)
    assert text.startswith(left)
    if stream.decision is None:
        assert (left, stream.leaked) == (text, 0)
    else:
        start = next(one.start for one in windows(text, 4, 4, 2) if "bad" in one.read)
        assert stream.leaked == tokens(left[start:]) > 0


def test_without_an_output_stage_text_passes_at_once() -> None:
    """Nobody reads answers, so none is waited for."""
    made = checking(having("bad"), input={}, output=None)
    stream = Guarded(always("One two", size=1), made).stream(PROMPT, GREEDY)
    assert list(stream) == list("One two")


def test_every_decision_is_told_to_who_watches() -> None:
    """In order, up to the one that stopped the stream."""
    told: list[tuple[Decision, Response]] = []
    made = checking(having("bad"), output=KEYS | {"overlap": 0}, input={})
    guarded = Guarded(
        always("So good so good. Some bad news. And more."), made, lambda *one: told.append(one)
    )
    list(guarded.stream(PROMPT, GREEDY))
    assert [(one.stage, one.outcome, said.text) for one, said in told] == [
        ("input", "allow", ""),
        ("output", "allow", "So good so good"),
        ("output", "block", ". Some bad news"),
    ]


def collected(stream: GuardedStream) -> list[str]:
    """What an event loop gets of a stream while it does other things too."""

    async def all_of_it() -> list[str]:
        return [piece async for piece in stream]

    return asyncio.run(all_of_it())


def test_a_stream_can_be_awaited() -> None:
    """The same pieces together, by `async for`."""
    text = "So good so good. Some more of it. Then bad news."
    guarded = Guarded(always(text), checking(having("bad"), output=KEYS))
    stream = guarded.astream(PROMPT, GREEDY)
    assert "".join(collected(stream)) == "".join(guarded.stream(PROMPT, GREEDY))
    assert stream.decision is not None and stream.decision.action == "block"


def test_an_event_loop_can_hang_up() -> None:
    """Also while a thread waits for the next piece: that one is the last."""
    judge, generator = Waiting(), always("One two three four. " * 50)
    stream = Guarded(generator, checking(judge, output=KEYS)).astream(PROMPT, GREEDY)

    async def hang_up() -> list[str]:
        waiting = asyncio.create_task(anext(stream))
        await asyncio.to_thread(judge.begun.wait, 60)
        await stream.aclose()
        judge.go.set()
        with suppress(StopAsyncIteration):
            await waiting
        return [piece async for piece in stream]

    assert asyncio.run(hang_up()) == []
    assert generator.closed == 1
