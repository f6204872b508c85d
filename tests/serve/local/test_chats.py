"""The local server: what the official client reads of it, and who is not kept waiting by whom."""

from __future__ import annotations

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from safeft.errors import ModelError
from safeft.records import Message
from safeft.serve.generating import Wanted, Writer
from safeft.serve.local import app_over, local_writer
from safeft.serve.running import loopback
from serve.local.waiting import PATIENCE, Patient, asking

ASKED: list[Any] = [{"role": "user", "content": "How do I grow tomatoes in a garden?"}]
GREEDY: dict[str, Any] = {"model": "aligned", "messages": ASKED, "temperature": 0}


def streamed(client: openai.OpenAI, **more: Any) -> list[Any]:
    """All chunks of an answer."""
    return list(client.chat.completions.create(**GREEDY | more, stream=True))


def said(chunks: list[Any]) -> str:
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


def test_a_whole_answer_is_what_the_model_writes(client: openai.OpenAI, writer: Writer) -> None:
    """With its end and its tokens, as the official client reads them."""
    answer = client.chat.completions.create(**GREEDY)
    wanted = Wanted((Message("user", ASKED[0]["content"]),), temperature=0.0)
    pieces: list[str] = []
    written = writer.write(writer.ids(wanted), wanted, pieces.append, Event())
    (choice,) = answer.choices
    assert choice.message.content == "".join(pieces) and len(pieces) > 10
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert answer.usage is not None and answer.model == "aligned"
    found = answer.usage
    assert (found.prompt_tokens, found.completion_tokens) == (written.read, written.tokens)
    assert found.total_tokens == written.read + written.tokens


def test_a_stream_is_the_same_answer_in_pieces(client: openai.OpenAI) -> None:
    """The role first, the end last, one id, and no usage that nobody asked for."""
    whole = client.chat.completions.create(**GREEDY)
    chunks = streamed(client)
    assert said(chunks) == whole.choices[0].message.content
    assert len(chunks) > 10 and len({one.id for one in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    ends = [one.choices[0].finish_reason for one in chunks]
    assert ends == [None] * (len(chunks) - 1) + ["stop"]
    assert all(one.usage is None for one in chunks)


def test_usage_comes_last_when_asked_for(client: openai.OpenAI) -> None:
    """In a chunk without a choice, the same numbers as of the whole answer."""
    *_, last = streamed(client, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage == client.chat.completions.create(**GREEDY).usage


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_where_wanted(client: openai.OpenAI, name: str) -> None:
    """By either name, as a stream and whole."""
    answer = client.chat.completions.create(**GREEDY, **{name: 4})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 4
    assert streamed(client, **{name: 4})[-1].choices[0].finish_reason == "length"


def test_the_fields_of_a_request_are_honoured(client: openai.OpenAI) -> None:
    """Seed, temperature, top_p and stop: each changes what it should."""
    whole = client.chat.completions.create(**GREEDY).choices[0].message.content
    assert whole is not None

    def ask(**more: Any) -> str:
        return said(streamed(client, **more))

    drawn = {"temperature": 3.0, "seed": 1}
    assert ask(**drawn) == ask(**drawn) != ask(temperature=3.0, seed=2)
    assert ask(**drawn, top_p=1e-9) == whole
    assert ask(stop=whole[20:26]) == whole[: whole.index(whole[20:26])]
    assert ask(stop=["never said", whole[40:46]]) == whole[: whole.index(whole[40:46])]


def test_what_is_not_known_is_ignored(client: openai.OpenAI) -> None:
    """Tools, biases, another server's extras, and text in parts."""
    whole = said(streamed(client))
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    more = {"guided_json": {}, "top_k": 3, "messages": [ASKED[0] | {"name": "me"}]}
    assert said(streamed(client, tools=[tool], logit_bias={"1": 5}, user="u")) == whole
    assert said(streamed(client, extra_body=more)) == whole
    parts = [{"type": "text", "text": one} for one in ("How do I grow ", "tomatoes in a garden?")]
    assert said(streamed(client, messages=[{"role": "user", "content": parts}])) == whole


@pytest.mark.parametrize(
    ("more", "status", "code", "words"),
    [
        ({"messages": []}, 400, "invalid_value", "messages: List should have at least 1"),
        ({"temperature": -1}, 400, "invalid_value", "temperature: "),
        ({"top_p": 0}, 400, "invalid_value", "top_p: "),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens: "),
        ({"n": 2}, 400, "invalid_value", "n: "),
        (
            {"model": "gpt"},
            404,
            "model_not_found",
            "no model 'gpt' here",
        ),
        ({"max_tokens": 5000}, 400, "context_length_exceeded", "exceeds the maximum context"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            *(400, "invalid_value", "only parts of type text"),
        ),
    ],
)
def test_what_cannot_be_done_is_a_typed_error(
    client: openai.OpenAI, more: Any, status: int, code: str, words: str
) -> None:
    """Whole or as a stream, before anything is written."""
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(**GREEDY | more, stream=stream)
        assert (refused.value.status_code, refused.value.code) == (status, code)
        assert words in refused.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"messages": 3}'])
def test_malformed_bodies_are_typed_errors(url: str, body: bytes) -> None:
    """Whatever the bytes are."""
    answer = httpx.post(
        f"{url}/v1/chat/completions", content=body, headers={"authorization": "Bearer secret"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_who_lacks_the_key_gets_nothing(url: str) -> None:
    """Another process of the machine reaches the port, and no more."""
    for key in ("wrong", "secre"):
        with pytest.raises(openai.AuthenticationError):
            asking(url, key).models.list()
        with pytest.raises(openai.AuthenticationError):
            streamed(asking(url, key))
    assert httpx.get(f"{url}/v1/models").status_code == 401


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    """By the name under which it is asked."""
    assert [one.id for one in client.models.list()] == ["aligned"]


def test_requests_at_once_are_answered_one_after_the_other(client: openai.OpenAI) -> None:
    """Each with its own answer."""
    words = ["tomatoes", "potatoes", "onions", "carrots"]
    asked = [[{"role": "user", "content": f"How do I grow {one}?"}] for one in words]
    alone = [said(streamed(client, messages=one)) for one in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: said(streamed(client, messages=one)), asked))
    assert together == alone and len(set(alone)) == 4


def test_who_leaves_a_stream_stops_the_model() -> None:
    """The next request's turn comes at once, and not when nobody's answer is finished."""
    writer = Patient()
    with loopback(app_over(writer)) as url, asking(url) as client:
        stream = client.chat.completions.create(**GREEDY, stream=True)
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "Yes "]
        stream.close()
        assert client.chat.completions.create(**GREEDY, max_tokens=1).usage
        assert writer.left.is_set()


def test_who_leaves_before_a_whole_answer_stops_the_model() -> None:
    """Although nothing was sent yet that could fail to arrive."""
    writer = Patient()
    with loopback(app_over(writer)) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as raw:
            body = b'{"messages": [{"role": "user", "content": "?"}]}'
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}"
            raw.sendall(head.encode() + b"\r\n\r\n" + body)
            assert writer.begun.wait(PATIENCE)
        assert writer.left.wait(PATIENCE)


def test_a_model_that_fails_is_a_typed_error(caplog: pytest.LogCaptureFixture) -> None:
    """As a status, or in the stream that has begun; the server goes on."""
    writer = Patient(RuntimeError("out of memory\nat secret/path"))
    with loopback(app_over(writer)) as url, asking(url) as client:
        with pytest.raises(openai.InternalServerError, match="the model failed to answer"):
            client.chat.completions.create(**GREEDY)
        with pytest.raises(openai.APIError, match="the model failed to answer") as broken:
            streamed(client)
        assert broken.value.code == "generation_failed"
        assert client.chat.completions.create(**GREEDY, max_tokens=1).usage
    failures = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert [one.getMessage() for one in failures] == 2 * [
        "the model failed: RuntimeError: out of memory"
    ]


def test_an_adapter_changes_the_answers(tiny_model: Path, tiny_adapter: Path) -> None:
    """Loaded as everywhere in safeft; served under the model's name."""

    def answer(adapter: str | None) -> str:
        made = app_over(local_writer(str(tiny_model), adapter))
        with loopback(made) as url, asking(url) as client:
            return said(streamed(client, model=str(tiny_model), max_tokens=12))

    assert answer(None) != answer(str(tiny_adapter))


def test_a_model_that_is_not_there_is_refused() -> None:
    """Before anything is served."""
    with pytest.raises(ModelError, match="no testbed model 'algined'"):
        local_writer("testbed:algined")
