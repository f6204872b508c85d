"""Laws of streams: together the pieces are the whole answer, and who closes one ends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from endpoint import Server, message, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.errors import ModelError, SafeftError, TooLongError
from safeft.generation.endpoint import EndpointGenerator
from safeft.generation.schema import Endpoint
from safeft.generation.streams import stripped
from safeft.generation.transformers import TransformersGenerator
from safeft.records import Decoding, Prompt

MakeGenerator = Callable[..., TransformersGenerator]
PROMPTS = [Prompt.of(text, text) for text in ("how does one", "water a plant", "in the garden and")]
(PROMPT,) = PROMPTS[:1]
GREEDY, WARM = Decoding(0.0, 0, 24), Decoding(0.9, 3, 24, 0.95)


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \n\t"), max_size=5)))
def test_a_stream_has_no_white_space_at_its_ends(pieces: list[str]) -> None:
    """As a whole answer has none; what lies between words stays, and no piece is empty."""
    found = list(stripped(one for one in pieces))
    assert "".join(found) == "".join(pieces).strip()
    assert all(found)


@pytest.mark.parametrize("decoding", [GREEDY, WARM])
def test_the_pieces_are_the_answer(generator: MakeGenerator, decoding: Decoding) -> None:
    """Greedy or drawn, by the same numbers."""
    made = generator()
    whole = [one.text for one in made(PROMPTS, decoding)]
    assert ["".join(made.stream(one, decoding)) for one in PROMPTS] == whole
    assert len(set(whole)) == len(PROMPTS)


def test_an_answer_that_was_begun_begins_so(generator: MakeGenerator) -> None:
    """What it was made to begin with is its own words."""
    begun = Prompt("0", PROMPT.messages, begun="In the")
    (whole,) = generator()([begun], GREEDY)
    text = "".join(generator().stream(begun, GREEDY))
    assert text == whole.text
    assert text.startswith("In the")


def test_stop_tokens_are_no_part_of_the_answer(
    loaded: tuple[Any, Any], generator: MakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a model declares a word as one."""
    model, tokenizer = loaded
    words = tokenizer(generator()([PROMPT], GREEDY)[0].text, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [tokenizer.eos_token_id, words[6]])
    (whole,) = generator()([PROMPT], GREEDY)
    assert whole.finish == "stop"
    assert "".join(generator().stream(PROMPT, GREEDY)) == whole.text


def test_a_closed_stream_ends_the_generation(
    loaded: tuple[Any, Any], generator: MakeGenerator
) -> None:
    """The model is not asked for another token once `close` has returned."""
    model, _ = loaded
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        stream = generator().stream(PROMPT, Decoding(0.0, 0, 180))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        done = len(calls)
        assert list(stream) == []
        assert len(calls) == done < 180
    finally:
        handle.remove()


def test_what_generation_raises_is_raised(
    loaded: tuple[Any, Any], generator: MakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is read: a thread that dies must not look like the end of an answer."""

    def broken(**_: Any) -> None:
        raise MemoryError("too large")

    with pytest.raises(TooLongError):
        generator().stream(PROMPT, Decoding(0.0, 0, 10_000))
    monkeypatch.setattr(loaded[0], "generate", broken)
    with pytest.raises(MemoryError, match="too large"):
        list(generator().stream(PROMPT, GREEDY))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this machine."""
    with serving() as made:
        yield made


def asking(server: Server, raw: bool = False, **settings: Any) -> EndpointGenerator:
    """A generator over the server."""
    settings = {"retries": 0} | settings
    return EndpointGenerator(server.url, "m", Endpoint(**settings), raw=raw)


def chunk(finish: str | None = None, raw: bool = False, **delta: Any) -> dict[str, Any]:
    """A chunk in the API's own shape."""
    said = {"text": delta.get("content") or ""} if raw else {"delta": delta}
    kind = "text_completion" if raw else "chat.completion.chunk"
    choice = {"index": 0, "finish_reason": finish, **said}
    return {"id": "1", "object": kind, "created": 0, "model": "m", "choices": [choice]}


def events(*chunks: Any, done: bool = True, cut: bool = False) -> Callable[..., bool]:
    """A server that streams these chunks, and may break off."""

    def answer(handler: Any, *_: Any) -> bool:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        if cut:
            handler.send_header("content-length", "100000")
        handler.end_headers()
        for one in chunks:
            handler.wfile.write(b"data: " + json.dumps(one).encode() + b"\n\n")
        if done:
            handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True
        return True

    return answer


USAGE = {**chunk(), "choices": [], "usage": {"total_tokens": 3}}
ANSWER = [chunk(role="assistant"), chunk(content=" Wa"), chunk(content="ter it. "), chunk("stop")]


def test_an_endpoints_pieces_are_the_answer(server: Server) -> None:
    """As they come; chunks without a choice, or without words, hold none."""
    server.fault = events(*ANSWER, USAGE)
    assert list(asking(server).stream(PROMPT, WARM)) == ["Wa", "ter it."]
    body = server.bodies[0]
    assert body["stream"] is True
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.9, 3, 24)


def test_raw_prompts_are_streamed_too(server: Server) -> None:
    """From the other route, whose chunks have another shape."""
    server.fault = events(chunk(raw=True, content="Wa"), chunk("length", raw=True, content="ter"))
    assert "".join(asking(server, raw=True).stream(PROMPT, WARM)) == "Water"
    assert server.bodies[0]["prompt"] == PROMPT.text


def test_a_refusal_that_the_api_names_is_the_answer(server: Server) -> None:
    """Streamed as it is whole."""
    server.fault = events(chunk(refusal="I "), chunk(refusal="cannot."), chunk("stop"))
    assert "".join(asking(server).stream(PROMPT, WARM)) == "I cannot."


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (events(*ANSWER[:3]), "'how does one'.*the answer broke off"),
        (events(*ANSWER[:3], done=False), "the answer broke off"),
        (events(*ANSWER[:3], done=False, cut=True), "'how does one'"),
        (events(*ANSWER[:2], {"error": {"message": "out of memory"}}), "out of memory"),
        (events(*ANSWER[:2], "no chunk"), "'how does one'"),
    ],
)
def test_an_answer_that_breaks_off_is_none(server: Server, fault: Any, words: str) -> None:
    """What had come is given; the end of the line is no end of the answer."""
    server.fault = fault
    left: list[str] = []
    with pytest.raises(SafeftError, match=words):
        left += asking(server).stream(PROMPT, WARM)
    assert "Water it.".startswith("".join(left))


def test_what_is_refused_is_raised_as_for_whole_answers(server: Server) -> None:
    """A wrong key is the user's error; a filter before the model means an answer without words."""
    server.fault = lambda one, *_: not one.answer(401, {"error": {"message": "wrong key"}})
    with pytest.raises(ModelError, match=r"refuses .*401.*wrong key"):
        list(asking(server).stream(PROMPT, WARM))
    filtered = {"error": {"code": "content_filter", "message": "filtered"}}
    server.fault = lambda one, *_: not one.answer(400, filtered)
    assert list(asking(server).stream(PROMPT, WARM)) == []
    server.fault = lambda one, *_: not one.answer(500, {"error": {"message": "broken"}})
    with pytest.raises(SafeftError, match="500"):
        list(asking(server).stream(PROMPT, WARM))


def test_a_server_that_does_not_stream_is_told(server: Server) -> None:
    """A whole answer where chunks were asked for holds none of them."""
    whole = {"choices": [{"index": 0, "finish_reason": "stop", "message": message("Water it.")}]}
    server.fault = lambda one, *_: not one.answer(200, whole)
    with pytest.raises(SafeftError, match="the answer broke off"):
        list(asking(server).stream(PROMPT, WARM))
