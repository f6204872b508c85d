"""Laws of the engines of prompted guards: endpoints over HTTP, vLLM at its documented interface."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from endpoint import Server, completion, message, serving

from safeft.errors import ConfigError, PromptError, SafeftError
from safeft.generation import vllm as engines
from safeft.guarding.asking import MOST, Asked, Recorder, VllmAsker
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Stage
from safeft.records import Decoding, Label, Prompt, Response

READ = {
    "pattern": r"(?i)\A\s*(?P<verdict>safe|unsafe)(?:\n(?P<categories>[\w,]+))?\s*\Z",
    "labels": {"safe": "safe", "unsafe": "unsafe"},
    "categories": {"S1": "violence"},
}
TEXT = Response(Prompt.of("How do I bake bread?", "a"), "Take flour.")
Made = Callable[..., GuardJudge]
Steps = list[tuple[str, float, dict[str, float]]]
SURE: Steps = [
    ("\n\n", -0.1, {"\n\n": -0.1}),
    ("unsafe", math.log(0.6), {"unsafe": math.log(0.6), "safe": math.log(0.2), " Un": -9.0}),
    ("\n", -0.1, {"\n": -0.1}),
    ("S1", -0.1, {"safe": -0.1}),
]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def made(server: Server, tmp_path: Path) -> Made:
    """A judge behind the server, loaded from a YAML as a user would write it."""

    def make(**values: Any) -> GuardJudge:
        spec = {"name": "mine", "model": "guard", "engine": server.url, "read": READ}
        path = tmp_path / "mine.yaml"
        path.write_text(json.dumps(spec | values))
        return load_guard_judge("output", Stage(judge=str(path)))

    return make


def says(server: Server, steps: Steps | None, said: str, **more: Any) -> None:
    """The server answers so, with these tokens and their log-probabilities."""

    def answer(handler: Any, *_: Any) -> bool:
        raw = "prompt" in handler.server.bodies[-1]
        logprobs = None if steps is None else (given(steps) if raw else {"content": listed(steps)})
        words = {"text": said} if raw else {"message": message(said)}
        body = completion("", raw)
        body["choices"][0] |= {"logprobs": logprobs} | words | more
        handler.answer(200, body)
        return True

    server.fault = answer


def listed(steps: Steps) -> list[dict[str, Any]]:
    """Chat completions' form."""
    return [
        {
            "token": token,
            "logprob": one,
            "bytes": None,
            "top_logprobs": [{"token": k, "logprob": v, "bytes": None} for k, v in top.items()],
        }
        for token, one, top in steps
    ]


def given(steps: Steps) -> dict[str, Any]:
    """Completions' form."""
    return {
        "tokens": [one[0] for one in steps],
        "token_logprobs": [one[1] for one in steps],
        "top_logprobs": [one[2] for one in steps],
        "text_offset": [0 for _ in steps],
    }


WANTED = (0.6 + math.exp(-9)) / (0.8 + math.exp(-9))


@pytest.mark.parametrize("template", [{}, {"text": "{question} {answer}"}], ids=["chat", "raw"])
def test_an_endpoints_log_probabilities_give_the_score(
    server: Server, made: Made, template: dict[str, str]
) -> None:
    """Of the verdict's token, wherever it stands; a later token's do not count."""
    says(server, SURE, "\n\nunsafe\nS1")
    found = made(template=template)([TEXT])[0]
    assert found.scores == {"unsafe": 0.0, "violence": pytest.approx(WANTED)}
    assert found.unsafe is True and found.prompt_id == "a"
    body = server.bodies[0]
    asked = ("logprobs", "top_logprobs", "temperature", "max_tokens")
    wanted = (True, MOST, 0, 64) if not template else (MOST, None, 0, 64)
    assert tuple(body.get(key) for key in asked) == wanted


def test_reasoning_before_the_answer_is_no_part_of_it(server: Server, made: Made) -> None:
    """A server may list the tokens of the reasoning too, and give the answer's words alone."""
    thought: Steps = [("Is it safe?", -0.1, {"safe": -0.1}), ("</think>", -0.1, {})]
    says(server, [*thought, *SURE], "unsafe\nS1")
    assert made()([TEXT])[0].scores["violence"] == pytest.approx(WANTED)


@pytest.mark.parametrize("steps", [None, [], SURE[:1], [("something", -0.1, {})]])
def test_a_verdict_without_probabilities_is_unread_and_the_cure_is_told(
    server: Server, made: Made, steps: Steps | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Words would give 1 and 0, which thresholds for probabilities are not made for."""
    says(server, steps, "unsafe")
    assert made()([TEXT])[0].label is Label.UNREAD
    assert "set `score: words` where http" in caplog.text
    server.bodies.clear()
    found = made(score="words")([TEXT])[0]
    assert found.scores == {"unsafe": 1.0, "violence": 0.0}
    assert not {"logprobs", "top_logprobs"} & {*server.bodies[0]}


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ("", {}),
        (None, {}),
        ("unsafe", {"finish_reason": "length"}),
        ("safe", {"finish_reason": "content_filter"}),
        ("I can't help with that.", {}),
    ],
)
def test_silence_refusal_and_cut_answers_are_unread(
    server: Server, made: Made, said: Any, more: dict[str, str]
) -> None:
    """Nothing of it says safe."""
    says(server, None, said, **more)
    assert made(score="words")([TEXT])[0].label is Label.UNREAD


def test_a_refusal_that_the_api_names_is_unread(server: Server, made: Made) -> None:
    """Even if its words were the format's."""
    says(server, None, "", message=message(None, refusal="I won't judge it."))
    assert made(score="words")([TEXT])[0].label is Label.UNREAD


def test_a_text_beyond_the_endpoints_context_is_unread(server: Server, made: Made) -> None:
    """The others are read."""

    def answer(handler: Any, text: str, _: int) -> bool:
        if "long" in text:
            error = {"message": "the prompt is too long", "code": "context_length_exceeded"}
            handler.answer(400, {"error": error})
        else:
            handler.answer(200, completion("", message=message("safe")))
        return True

    server.fault = answer
    found = made(score="words")([Response(Prompt.of("b", "b"), "long"), TEXT])
    assert [one.unsafe for one in found] == [None, False]


def test_a_failed_request_leaves_its_own_text_unread(server: Server, made: Made) -> None:
    """The others keep the answers that they got; an endpoint that is down is an error."""

    def answer(handler: Any, text: str, _: int) -> bool:
        broken = "odd" in text
        body = {"error": {"message": "oops"}} if broken else completion("", message=message("safe"))
        handler.answer(500 if broken else 200, body)
        return True

    server.fault = answer
    judge = made(score="words", endpoint={"retries": 0, "concurrency": 1})
    odd = Response(Prompt.of("b", "b"), "odd")
    assert [one.unsafe for one in judge([TEXT, odd, TEXT])] == [False, None, False]
    assert len(server.bodies) == 3
    with pytest.raises(SafeftError, match="got no answer"):
        judge([odd])


def test_what_a_chat_template_is_told_goes_to_the_server(server: Server, made: Made) -> None:
    """One request a criterion, and what the user adds to each request."""
    says(server, None, "safe")
    read = {key: READ[key] for key in ("labels",)} | {"pattern": r"\A(?P<verdict>safe|unsafe)\Z"}
    criteria = {one: {"arguments": {"rule": one}} for one in ("a", "b")}
    endpoint = {"concurrency": 1, "arguments": {"user": "me"}}
    judge = made(read=read, criteria=criteria, score="words", endpoint=endpoint)
    assert judge.requests([Prompt.of("Hello")])[0].scores == {"a": 0.0, "b": 0.0}
    told = [one["chat_template_kwargs"]["rule"] for one in server.bodies]
    assert told == ["a", "b"] and {one["user"] for one in server.bodies} == {"me"}


def test_where_texts_go_and_a_missing_key_are_told_at_load(
    made: Made, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the first request."""
    with caplog.at_level(logging.WARNING, "safeft"):
        made()
    assert "requests and answers are sent to http://127.0.0.1" in caplog.text
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(ConfigError, match="no key; set the environment variable NO_KEY"):
        made(engine="https://guard.example/v1", endpoint={"key_variable": "NO_KEY"})


@dataclass
class Params:
    """vLLM's sampling parameters, as documented."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None
    logprobs: int | None = None
    skip_special_tokens: bool = True


@dataclass
class Llm:
    """vLLM's engine at its documented interface: it says `said`, and what else was likely."""

    said: list[int]
    likely: list[dict[int, float]]
    seen: list[Params] = field(default_factory=list)
    llm_engine: Any = field(
        default_factory=lambda: SimpleNamespace(model_config=SimpleNamespace(max_model_len=64))
    )

    def generate(self, prompts: list[Any], sampling: list[Params], **_: Any) -> list[Any]:
        self.seen += sampling
        steps = [{k: SimpleNamespace(logprob=v) for k, v in one.items()} for one in self.likely]
        output = SimpleNamespace(
            token_ids=self.said, text="ignored", finish_reason="stop", logprobs=steps
        )
        return [SimpleNamespace(outputs=[output]) for _ in prompts]


def test_vllm_is_asked_for_the_likeliest_tokens(
    tiny_model: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sampling is greedy with log-probabilities, its words keep their control tokens."""

    def ids(text: str) -> list[int]:
        found: list[int] = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    said = [*ids("unsafe"), tiny_tokenizer.eos_token_id]
    first = {said[0]: math.log(0.3), ids("safe")[0]: math.log(0.1)}
    llm = Llm(said, [first, *({one: -0.1} for one in said[1:])])
    fake = SimpleNamespace(SamplingParams=Params, TokensPrompt=dict)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.setattr(engines, "_started", lambda *_: llm)
    asked = Asked(False, False, ("safe", "unsafe"), {"exchange/": {}})
    engine = VllmAsker(str(tiny_model), {}, asked)
    prompt = Prompt("a", (TEXT.prompt.messages[0],), "exchange/")
    found: Any = engine([prompt], Decoding(0.0, 0, 8))[0]
    assert found.text == "unsafe" and found.finish == "stop"
    assert found.masses(0) == pytest.approx({"safe": 0.1, "unsafe": 0.3})
    assert [(one.logprobs, one.skip_special_tokens) for one in llm.seen] == [(MOST, False)]
    long = Prompt("b", (*prompt.messages, *prompt.messages * 9), "exchange/")
    with pytest.raises(PromptError, match="exceeds the context"):
        engine([long], Decoding(0.0, 0, 8))


def test_the_recorder_finds_a_step_by_what_was_read(tiny_tokenizer: Any) -> None:
    """However its row was padded, and with the whole vocabulary's masses."""
    import torch

    words = ("safe", "unsafe")
    recorder = Recorder(tiny_tokenizer, words)
    pad = tiny_tokenizer.pad_token_id
    scores = torch.randn(2, len(tiny_tokenizer), generator=torch.Generator().manual_seed(0))
    kept = recorder(torch.tensor([[pad, pad, 5], [7, 5, 6]]), scores)
    assert torch.equal(kept, scores)
    for row, read in enumerate(([5], [7, 5, 6])):
        shares = scores[row].softmax(-1)
        sums = dict.fromkeys(words, 0.0)
        for token in range(len(tiny_tokenizer)):
            text = tiny_tokenizer.decode([token]).strip().lower()
            begun = [word for word in words if text.isalnum() and word.startswith(text)]
            if len(begun) == 1:
                sums[begun[0]] += float(shares[token])
        assert recorder.steps[recorder.key(read)] == pytest.approx(sums, abs=1e-6)
        assert min(sums.values()) > 0
    assert len(recorder.steps) == 2 and recorder.key([5, 6]) not in recorder.steps
