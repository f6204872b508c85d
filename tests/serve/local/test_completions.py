"""Completions of the local model: a text is gone on with as it is, with and without a guard."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import openai
import pytest
from guarding.probing import probing, saved
from guarding.reading import REFUSAL, checking, having

from safeft.errors import PromptError, TooLongError
from safeft.generation.transformers import TransformersGenerator
from safeft.guarding import probe_guard
from safeft.models.files import weights_of
from safeft.records import Decoding, Message, Prompt
from safeft.serve.app import app
from safeft.serve.generating import Wanted, Writer
from safeft.serve.local import app_over
from safeft.serve.running import loopback
from safeft.serve.server import server
from safeft.serve.serving import Serving
from safeft.serve.settings import Settings
from serve.local.waiting import Patient, asking
from serve.scripted import running

PROMPT = "Tomatoes grow best in a garden that "
GREEDY: dict[str, Any] = {"model": "aligned", "prompt": PROMPT, "temperature": 0}
RAW = Wanted((Message("user", PROMPT.strip()),), 0.0, max_new_tokens=16, text=PROMPT)
SETTINGS = Settings()


def streamed(client: openai.OpenAI, **more: Any) -> list[Any]:
    """All chunks of an answer."""
    return list(client.completions.create(**GREEDY | more, stream=True))


def said(chunks: list[Any]) -> str:
    return "".join(one.choices[0].text for one in chunks if one.choices)


def test_a_text_is_gone_on_with_as_it_is(
    client: openai.OpenAI, writer: Writer, aligned: tuple[Any, Any]
) -> None:
    """No chat template: what the other engine writes behind the raw text, 16 tokens of it."""
    answer = client.completions.create(**GREEDY)
    pieces: list[str] = []
    ids = writer.ids(RAW)
    assert ids == aligned[1](PROMPT)["input_ids"]
    written = writer.write(ids, RAW, pieces.append, Event())
    (choice,) = answer.choices
    assert choice.text == "".join(pieces) and (choice.index, choice.finish_reason) == (0, "length")
    other = TransformersGenerator(*aligned, "aligned", raw=True)
    (wanted,) = other([Prompt.of(PROMPT)], Decoding(0.0, 0, 16))
    assert choice.text.strip() == wanted.text and len(wanted.text) > 20
    assert (answer.object, answer.model) == ("text_completion", "aligned")
    assert answer.usage is not None
    found = answer.usage.prompt_tokens, answer.usage.completion_tokens
    assert found == (written.read, written.tokens) == (len(ids), 16)


def test_a_stream_is_the_same_text_in_pieces(client: openai.OpenAI) -> None:
    """One id, the end last, and usage only when it was asked for."""
    whole = client.completions.create(**GREEDY)
    chunks = streamed(client, stream_options={"include_usage": True})
    assert said(chunks) == whole.choices[0].text and len(chunks) > 5
    *rest, last = chunks
    assert last.choices == [] and last.usage == whole.usage
    assert len({one.id for one in chunks}) == 1
    assert [one.choices[0].finish_reason for one in rest] == [None] * (len(rest) - 1) + ["length"]
    assert all(one.usage is None for one in streamed(client))


def test_the_fields_of_a_request_are_honoured(client: openai.OpenAI) -> None:
    """A list of one, its own limit, seed and stop."""
    whole = client.completions.create(**GREEDY, max_tokens=40).choices[0].text

    def ask(**more: Any) -> str:
        return said(streamed(client, max_tokens=40, **more))

    assert ask(prompt=[PROMPT]) == ask(echo=False, suffix="", best_of=1, n=1) == whole
    drawn = {"temperature": 3.0, "seed": 1}
    assert ask(**drawn) == ask(**drawn) != ask(temperature=3.0, seed=2)
    stop = whole[20:26]
    assert ask(stop=stop) == whole[: whole.index(stop)]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"prompt": ["a", "b"]}, "invalid_value", "prompt: Value error, one text at a time"),
        ({"prompt": [1, 2]}, "invalid_value", "token ids are not read"),
        ({"prompt": []}, "invalid_value", "one text at a time"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens: "),
        ({"n": 2}, "invalid_value", "n: "),
        ({"best_of": 2}, "invalid_value", "best_of: "),
        ({"echo": True}, "invalid_value", "echo: "),
        ({"suffix": "."}, "invalid_value", "suffix: "),
        ({"max_tokens": 5000}, "context_length_exceeded", "exceeds the maximum context"),
    ],
)
def test_what_cannot_be_done_is_a_typed_error(
    client: openai.OpenAI, more: Any, code: str, words: str
) -> None:
    """Whole or as a stream, before anything is written."""
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(**GREEDY | more, stream=stream)
        assert refused.value.code == code
        assert words in refused.value.message


def test_the_routes_share_their_errors(url: str) -> None:
    """The key, another model's name, bodies that are none, and a model that fails."""
    with pytest.raises(openai.AuthenticationError):
        streamed(asking(url, "wrong"))
    with asking(url) as client, pytest.raises(openai.NotFoundError, match="no model 'gpt' here"):
        client.completions.create(**GREEDY | {"model": "gpt"})
    keyed = {"authorization": "Bearer secret"}
    for body in (b"", b"[]", b"\xff", b'{"messages": []}'):
        found = httpx.post(f"{url}/v1/completions", content=body, headers=keyed)
        assert found.status_code == 400
        assert found.json()["error"]["type"] == "invalid_request_error"
    with (
        loopback(app_over(Patient(RuntimeError("out of memory")))) as broken,
        asking(broken) as client,
        pytest.raises(openai.APIError, match="failed to answer"),
    ):
        streamed(client)


def test_what_does_not_fit_or_says_nothing_is_refused(
    writer: Writer, tiny_llama: Any, tiny_tokenizer: Any
) -> None:
    """A text that is too long; an empty one, unless the model has a token that begins a text."""
    with pytest.raises(TooLongError):
        writer.ids(replace(RAW, text="tomatoes " * 3000))
    empty = replace(RAW, text="")
    tiny = Writer(tiny_llama(), tiny_tokenizer, "tiny")
    with pytest.raises(PromptError, match="is empty, and tiny has no token that begins"):
        tiny.ids(empty)
    begun = copy.deepcopy(tiny_tokenizer)
    begun.chat_template = "{{ raise_exception('is not asked') }}"
    assert Writer(tiny_llama(), begun, "tiny").ids(replace(RAW, text="a plant"))


def guarded(url: str, *words: str, **stages: Any) -> Any:
    """The proxy before the local model, whose judge finds these words unsafe."""
    made = app(url, checking(having(*words), **stages), SETTINGS)
    return running(server(made, SETTINGS, port=0, timeout_graceful_shutdown=1))


def test_the_guard_reads_them_as_it_reads_chats(url: str, client: openai.OpenAI) -> None:
    """What it clears leaves as it was written; a word that it finds ends text and stream."""
    whole = client.completions.create(**GREEDY, max_tokens=40).choices[0].text
    word = whole.split()[-2]
    with guarded(url, "never said") as at, asking(at) as open_client:
        assert said(streamed(open_client, max_tokens=40)) == whole
        assert open_client.completions.create(**GREEDY, max_tokens=40).choices[0].text == whole
    with guarded(url, word) as at, asking(at) as shut:
        answer = shut.completions.create(**GREEDY, max_tokens=40)
        chunks = streamed(shut, max_tokens=40)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (REFUSAL, "content_filter")
    ends = [one.choices[0].finish_reason for one in chunks if one.choices]
    assert [one for one in ends if one] == ["content_filter"]
    assert word not in said(chunks)


def test_a_withheld_prompt_never_reaches_the_model(url: str) -> None:
    """The input stage reads the text itself."""
    with guarded(url, "Tomatoes", input={}) as at, asking(at) as client:
        (choice,) = client.completions.create(**GREEDY).choices
    assert (choice.text, choice.finish_reason) == (REFUSAL, "content_filter")


def test_a_probe_reads_along(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No window of a completion is read a second time, up to the last token of one cut off."""
    probe = probing(3, hidden_size=256, layer=2, revision=weights_of("testbed:aligned"))
    stage = {"judge": str(saved(tmp_path, probe)), "threshold": 1.0, "first_window": 8, "window": 8}
    policy = {"name": "p", "refusal": "No.", "output": stage}
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    log = tmp_path / "log.jsonl"
    serving = Serving(str(tmp_path / "policy.yaml"), decisions=log, writer=lambda: writer)
    forced: list[int] = []

    def counted(*given: Any) -> Any:
        forced.append(1)
        return token_logits(*given)

    token_logits = probe_guard.token_logits
    monkeypatch.setattr(probe_guard, "token_logits", counted)
    with (
        loopback(app_over(writer)) as url,
        running(server(serving.before(url, SETTINGS), SETTINGS, port=0)) as at,
        asking(at) as client,
    ):
        (choice,) = client.completions.create(**GREEDY, max_tokens=900).choices
    assert choice.finish_reason == "stop" and len(choice.text) > 100
    writer.probes = []
    assert len(log.read_text().splitlines()) > 2 and forced == []
