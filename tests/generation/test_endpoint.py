"""Laws of the endpoint generator, against a real local server that fails on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from endpoint import Server, completion, message, serving

from safeft.errors import ConfigError, ModelError, SafeftError, TooLongError
from safeft.evaluation import respond
from safeft.generation.endpoint import EndpointGenerator
from safeft.generation.schema import Endpoint
from safeft.records import Decoding, Message, Prompt

pytest.importorskip("openai")

PROMPTS = [Prompt.of(f"question {n}", f"s/harm/{n}") for n in range(12)]
SAMPLED = Decoding(0.7, 3, 16)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this machine."""
    with serving() as made:
        yield made


def asking(server: Server, raw: bool = False, **settings: Any) -> EndpointGenerator:
    """A generator over the server."""
    return EndpointGenerator(server.url, "m", Endpoint(**settings), raw=raw)


def texts(prompts: Sequence[Prompt]) -> list[str]:
    """What the server says to them."""
    return [f"echo: {one.text}" for one in prompts]


def test_every_prompt_gets_its_own_answer_in_order(server: Server) -> None:
    """Side by side, and never more at once than was allowed."""
    server.fault = lambda *_: bool(time.sleep(0.02))  # long enough for requests to overlap
    found = asking(server, concurrency=3)(PROMPTS, SAMPLED)
    assert [one.prompt for one in found] == PROMPTS
    assert [one.text for one in found] == texts(PROMPTS)
    assert {(one.finish, one.tokens, one.served) for one in found} == {("stop", 2, "fp_1")}
    assert 1 < server.most <= 3
    body = server.bodies[0]
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.7, 3, 16)


def test_system_and_earlier_turns_are_sent(server: Server) -> None:
    """The conversation as it is, roles and all."""
    turns = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yes?"))
    asking(server)([Prompt("0", (*turns, Message("user", "Why?")))], SAMPLED)
    assert [one["role"] for one in server.bodies[0]["messages"]] == [
        *("system", "user", "assistant", "user")
    ]


def test_raw_prompts_go_to_completions(server: Server) -> None:
    """A judge with a format of its own wants no chat template around it."""
    (found,) = asking(server, raw=True)([Prompt.of("[INST] judge [/INST]")], SAMPLED)
    assert found.text == "echo: [INST] judge [/INST]"
    assert server.bodies[0]["prompt"] == "[INST] judge [/INST]"


def cut(handler: Any) -> None:
    """Half of an answer, then silence."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"id": "1", "choi')
    handler.connection.close()


FAULTS: dict[str, Callable[[Any], None]] = {
    "429": lambda one: one.answer(429, {"error": {"message": "slow"}}, {"retry-after": "0.1"}),
    "500": lambda one: one.answer(500, {"error": {"message": "broken"}}),
    "cut": cut,
    "silence": lambda _: time.sleep(0.6),  # beyond the client's timeout of 0.4
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_failure_is_tried_again_and_answered_once(server: Server, kind: str) -> None:
    """429, 500, a cut body and a timeout: every prompt ends with exactly one answer."""

    def fault(handler: Any, text: str, attempt: int) -> bool:
        wanted = attempt == 1 and text in ("question 2", "question 7")
        if wanted:
            FAULTS[kind](handler)
        return wanted

    server.fault = fault
    found = list(asking(server, timeout=0.4, retries=3).answers(PROMPTS, SAMPLED))
    assert sorted(one.prompt.id for one in found) == sorted(one.id for one in PROMPTS)
    assert sorted(one.text for one in found) == sorted(texts(PROMPTS))
    assert [server.seen[f"question {n}"] for n in (2, 7)] == [2, 2]


def test_a_prompt_that_fails_to_the_end_costs_no_other(server: Server, tmp_path: Path) -> None:
    """The others are on disk; the next run asks for what is missing, and for nothing else."""
    server.fault = lambda one, text, _: text == "question 5" and not one.answer(500, {})
    path = tmp_path / "r.jsonl"
    with pytest.raises(SafeftError, match=r"1 of 12 prompts got no answer .*InternalServer") as no:
        respond(lambda: asking(server, retries=0), PROMPTS, SAMPLED, path)
    assert no.value.exit_code == 1
    kept = path.with_name("r.jsonl.partial").read_text().splitlines()
    assert len(kept) == 11
    server.fault = lambda *_: False
    found = respond(lambda: asking(server), PROMPTS, SAMPLED, path)
    assert [one.text for one in found] == texts(PROMPTS)
    assert {one.served for one in found} == {"fp_1"}
    assert server.seen["question 5"] == 2
    assert all(server.seen[one.text] == 1 for one in PROMPTS if one.id != "s/harm/5")


@pytest.mark.parametrize("status", [401, 403, 404, 400, 422])
def test_what_will_never_succeed_is_a_users_error(server: Server, status: int) -> None:
    """A wrong key or model: one clear message, without a retry and without asking all the rest."""
    said = {"error": {"message": "no such model"}}
    server.fault = lambda one, *_: not one.answer(status, said)
    with pytest.raises(ModelError, match=rf"127\.0\.0\.1.* refuses .*{status}.*no such model"):
        asking(server, concurrency=1)(PROMPTS, SAMPLED)
    assert sum(server.seen.values()) < len(PROMPTS)


TOO_LONG: list[tuple[int, object]] = [
    (400, {"error": {"code": "context_length_exceeded", "message": "Please shorten."}}),
    (400, {"object": "error", "message": "This model's maximum context length is 9 tokens."}),
    (400, {"error": {"code": 400, "message": "longer than the maximum model length of 9"}}),
    (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too much"}}),
    (413, {"error": {"message": "Please reduce the length of the messages or completion."}}),
    (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 9"}),
]


@pytest.mark.parametrize(("status", "said"), TOO_LONG)
def test_a_prompt_beyond_the_context_costs_no_other(
    server: Server, tmp_path: Path, status: int, said: object
) -> None:
    """In the words of several servers: it is named at the end, and all others are kept."""
    server.fault = lambda one, text, _: text == "question 0" and not one.answer(status, said)
    with pytest.raises(TooLongError, match=r"prompt 's/harm/0' is too long for m at http://127"):
        respond(lambda: asking(server, concurrency=1), PROMPTS, SAMPLED, tmp_path / "r.jsonl")
    kept = (tmp_path / "r.jsonl.partial").read_text().splitlines()
    assert len(kept) == 11 and set(server.seen.values()) == {1}


def test_a_request_that_is_quoted_back_is_not_taken_for_too_long(server: Server) -> None:
    """Only the server's own words count: a prompt may speak of its context length."""
    quoted = [{"loc": ["body"], "msg": "no such field", "input": "my context length"}]
    server.fault = lambda one, *_: not one.answer(422, {"detail": quoted})
    with pytest.raises(ModelError, match="refuses") as no:
        asking(server, concurrency=1)(PROMPTS, SAMPLED)
    assert not isinstance(no.value, TooLongError) and sum(server.seen.values()) < len(PROMPTS)


def test_a_prompt_beyond_the_context_may_be_skipped(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """As judges want it: answered with nothing, which no pattern reads, and told."""
    server.fault = lambda one, text, _: text == "question 5" and not one.answer(*TOO_LONG[0])
    generator = EndpointGenerator(server.url, "m", Endpoint(), skip_long=True)
    found = generator(PROMPTS, SAMPLED)
    assert [one.text for one in found] == [*texts(PROMPTS[:5]), "", *texts(PROMPTS[6:])]
    assert "a prompt gets no answer: it is too long for m" in caplog.text


def test_filtered_cut_and_refused_answers_are_told_apart(server: Server) -> None:
    """A provider's filter withholds; a named refusal is the model's own answer."""
    answers = {
        "question 0": completion("", finish_reason="content_filter", message=message(None)),
        "question 1": completion("", finish_reason="length", message=message("Half of")),
        "question 2": completion("", message=message(None, refusal="I cannot.")),
        "question 3": completion("", message=message("")),
    }
    server.fault = lambda one, text, _: not one.answer(200, answers[text])
    found = asking(server)(PROMPTS[:4], SAMPLED)
    assert [(one.text, one.finish) for one in found] == [
        *(("", "withheld"), ("Half of", "length"), ("I cannot.", "stop"), ("", "stop"))
    ]
    server.fault = lambda one, *_: not one.answer(400, {"error": {"code": "content_filter"}})
    assert asking(server)(PROMPTS[:1], SAMPLED)[0].finish == "withheld"


def test_an_answer_without_a_choice_is_a_failure(server: Server) -> None:
    """Never an empty text, which would look safe."""
    server.fault = lambda one, *_: not one.answer(200, completion("") | {"choices": []})
    with pytest.raises(SafeftError, match="holds no choice"):
        asking(server)(PROMPTS[:1], SAMPLED)


def test_requests_are_spread_over_the_minute(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 a minute: each waits a tenth of a second longer than the one before."""
    generator, slept = asking(server, requests_per_minute=600, concurrency=1), []
    monkeypatch.setattr("safeft.generation.endpoint.time.monotonic", lambda: 5.0)
    # No clock in the test: what each request would wait is the law.
    monkeypatch.setattr("safeft.generation.endpoint.time.sleep", slept.append)
    generator(PROMPTS[:4], SAMPLED)
    assert slept == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_the_key_comes_from_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent to the server, and in no message; another machine's endpoint needs one."""
    monkeypatch.setenv("MY_KEY", "secret-1")
    asking(server, key_variable="MY_KEY")(PROMPTS[:1], SAMPLED)
    assert server.keys == {"Bearer secret-1"}
    server.fault = lambda one, *_: not one.answer(401, {"error": {"message": "wrong"}})
    with pytest.raises(ModelError) as refused:
        asking(server, key_variable="MY_KEY")(PROMPTS[:1], SAMPLED)
    assert "secret-1" not in str(refused.value)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        EndpointGenerator("https://api.example.org/v1", "m")


def test_a_dead_endpoint_is_given_up(server: Server) -> None:
    """Nobody was answered and as many failed as are asked at once: the rest is not sent."""
    server.fault = lambda one, *_: not one.answer(500, {})
    with pytest.raises(SafeftError, match=r"12 of 12 prompts got no answer"):
        asking(server, retries=0, concurrency=2)(PROMPTS, SAMPLED)
    assert sum(server.seen.values()) < len(PROMPTS)


def test_other_servers_shapes_are_read_or_refused(server: Server) -> None:
    """Text in parts, no token count, no fingerprint; a choice without a message is a failure."""
    parts = [{"type": "text", "text": "Half"}, {"type": "text", "text": " and half"}]
    whole = completion("", message=message(None) | {"content": parts})
    bare = {key: value for key, value in whole.items() if key != "system_fingerprint"}
    server.fault = lambda one, *_: not one.answer(200, bare | {"usage": {}})
    (found,) = asking(server)(PROMPTS[:1], SAMPLED)
    assert (found.text, found.tokens, found.served) == ("Half and half", 0, "")
    server.fault = lambda one, *_: not one.answer(200, whole | {"choices": [{"index": 0}]})
    with pytest.raises(SafeftError, match="holds no message"):
        asking(server)(PROMPTS[:1], SAMPLED)


def test_arguments_pass_through_and_null_leaves_one_out(server: Server) -> None:
    """Reasoning models want other names for the same."""
    more = {"max_tokens": None, "seed": None, "max_completion_tokens": 99}
    asking(server, arguments=more)(PROMPTS[:1], SAMPLED)
    body = server.bodies[0]
    assert body["max_completion_tokens"] == 99
    assert not {"max_tokens", "seed"} & set(body)


def test_nobody_there_is_a_failure_with_the_address() -> None:
    """A server that is down is no fault of the request."""
    with pytest.raises(SafeftError, match=r"127\.0\.0\.1:9/v1.*APIConnectionError"):
        EndpointGenerator("http://127.0.0.1:9/v1", "m", Endpoint(retries=0))(PROMPTS[:1], SAMPLED)


def test_a_cost_needs_both_prices() -> None:
    """Dollars a million tokens; without a price nothing is claimed."""
    priced = Endpoint(input_price=0.15, output_price=0.6)
    assert priced.cost(2_000_000, 1_000_000) == pytest.approx(0.9)
    assert Endpoint(input_price=1.0).cost(1, 1) != Endpoint(input_price=1.0).cost(1, 1)  # NaN
