"""The one server behind: what it is sent, what it never is, and what becomes of its errors."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from guarding.reading import checking, having

from safeft.errors import ConfigError
from safeft.serve import upstream
from safeft.serve.settings import Settings
from safeft.serve.upstream import checked_url
from serve.scripted import (
    ASKED,
    LONG,
    Place,
    Script,
    Upstream,
    answered,
    behind,
    choice,
    completion,
    proxied,
    running,
    sse,
    whole,
)

BODY = {"model": "m", "messages": ASKED}


@pytest.fixture
def place() -> Iterator[Place]:
    with proxied(checking(having("MARK"))) as found:
        found.upstream.answer = lambda _: whole(completion(choice("fine")))
        yield found


def test_unknown_fields_pass_both_ways_untouched(place: Place) -> None:
    """Byte for byte, in a whole answer and in a stream."""
    answer = completion(choice("fine", extra={"deep": [1.50]}), timings={"ms": 1}, beyond=None)
    raw = json.dumps(answer, indent=2, ensure_ascii=False).encode() + b"\n"
    place.upstream.answer = lambda _: Script([raw], kind="application/json")
    sent = json.dumps(BODY | {"vllm_xargs": {"é": [1e3]}, "n": 1}, indent=1).encode()
    kind = {"content-type": "application/json; charset=utf-8"}
    assert place.ask(content=sent, headers=kind).content == raw
    assert place.upstream.asked[-1].body == sent
    chunks = [one | {"odd": [1.50, None]} for one in answered([LONG, "and on"])]
    place.upstream.answer = lambda _: Script(sse(chunks))
    assert place.ask(BODY | {"stream": True}).content == b"".join(sse(chunks))


def test_headers_that_matter_pass_and_others_do_not(place: Place) -> None:
    """No hop's, nobody's address, no other method or path, and no cookie."""
    passed = {"authorization": "Bearer sk-1", "openai-organization": "o", "x-trace": "t"}
    dropped = {
        "cookie": "c=1",
        "x-forwarded-for": "1.2.3.4",
        "x-http-method-override": "DELETE",
        "x-original-url": "/admin",
        "te": "trailers",
        "connection": "keep-alive, x-hop",
        "x-hop": "h",
        "accept-encoding": "gzip",
        "via": "somebody",
    }
    place.ask(headers=passed | dropped)
    (asked,) = place.upstream.asked
    assert passed.items() <= asked.headers.items()
    assert asked.headers["accept-encoding"] == "identity"
    kept = {"connection", "accept-encoding"}
    assert not (set(dropped) - kept) & set(asked.headers)


def test_only_some_headers_come_back(place: Place) -> None:
    """Limits and ids; a cookie of one client is never sent for another."""
    sent = {
        "x-request-id": "r",
        "openai-processing-ms": "7",
        "retry-after": "1",
        "set-cookie": "a=b",
    }
    place.upstream.answer = lambda _: whole(completion(choice("fine")), headers=sent)
    first = place.ask()
    assert {"x-request-id", "openai-processing-ms", "retry-after"} <= set(first.headers)
    assert "set-cookie" not in first.headers
    assert first.headers["x-safeft-policy"] == "test"
    place.ask()
    assert "cookie" not in place.upstream.asked[-1].headers


def test_own_keys_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream gets its own key, out of the environment, and no client's."""
    monkeypatch.setenv("BEHIND", "sk-upstream")
    keys = {"keys": ("sk-a", "sk-b"), "upstream_key_variable": "BEHIND"}
    with proxied(checking(having("MARK")), **keys) as place:
        place.upstream.answer = lambda _: whole(completion(choice("fine")))
        for name, value in (("authorization", "Bearer sk-b"), ("x-api-key", "sk-a")):
            assert place.ask(headers={name: value, "api-key": "sk-c"}).status_code == 200
            seen = place.upstream.asked[-1].headers
            assert seen["authorization"] == "Bearer sk-upstream"
            assert not {"x-api-key", "api-key"} & set(seen)
        for wrong in ({}, {"authorization": "Bearer sk-"}, {"authorization": "Basic sk-a"}):
            refused = place.ask(headers=wrong)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        assert place.http.get("/metrics").status_code == 401
        assert place.http.get("/health").status_code == 200


def test_settings_lend_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are keys shown, nor is an empty one accepted, nor a variable that is not set."""
    with pytest.raises(ValueError, match="needs keys"):
        Settings(upstream_key_variable="BEHIND")
    with pytest.raises(ValueError, match="empty key"):
        Settings.model_validate({"keys": ("",)})
    made = Settings.model_validate({"keys": ("sk-secret",), "upstream_key_variable": "BEHIND"})
    assert "sk-secret" not in f"{made!r} {made}"
    monkeypatch.delenv("BEHIND", raising=False)
    with pytest.raises(ConfigError, match="BEHIND"):
        upstream.Upstream("http://127.0.0.1:9", made)


def test_keys_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nor is any text, at the finest level of every logger, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    secret, words = "sk-very-secret", "these very words"
    body = BODY | {"messages": [{"role": "user", "content": words}]}
    headers = {"authorization": f"Bearer {secret}", "x-api-key": secret}
    with proxied(checking(having("MARK"))) as place:
        scripts = [
            whole(completion(choice(f"{words} fine"))),
            whole(completion(choice(f"{words} MARK"))),
            whole({"error": {"message": words}}, status=500),
            Script([words.encode()], kind="application/json"),
            Script([words.encode()], then="cut"),
            Script([b"data: " + words.encode() + b"\n\n"]),
        ]
        for script in scripts:
            place.upstream.answer = lambda _, script=script: script
            for stream in (True, False):
                place.ask(body | {"stream": stream}, headers=headers)
        place.ask(content=f"{{{words}", headers=headers | {"content-type": "application/json"})
        place.observer.wait_for(13)
    logged = caplog.text + "".join(str(one.__dict__) for one in caplog.records)
    assert len(caplog.records) > 10
    assert secret not in logged and words not in logged


def test_redirects_are_not_followed() -> None:
    """Only the configured upstream is ever contacted."""
    other = Upstream()
    with running(behind(other)) as url, proxied(checking(having("MARK"))) as place:
        for status in (301, 302, 307, 308):
            there = {"location": f"{url}/v1/chat/completions"}
            place.upstream.answer = lambda _, s=status, t=there: Script(status=s, headers=t)
            for stream in (True, False):
                got = place.ask(BODY | {"stream": stream})
                assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_failed")
    assert other.asked == []


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503])
def test_the_upstreams_own_errors_pass(place: Place, status: int) -> None:
    """As objects, with their status, and nothing that stands beside them."""
    error = {"message": "no", "type": "t", "param": None, "code": 7, "more": 1}
    body = {"error": error, "leaked": "text"}
    place.upstream.answer = lambda _: whole(body, status=status, headers={"retry-after": "3"})
    for stream in (True, False):
        got = place.ask(BODY | {"stream": stream})
        assert (got.status_code, got.json()) == (status, {"error": error})
        assert got.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    "raw", [b"<html>", b"", b"[1]", b'{"detail": "text"}', b'{"error": "text"}', b"{" * 100_000]
)
def test_other_errors_are_wrapped(place: Place, raw: bytes) -> None:
    """Whatever they hold, the client reads the API's shape."""
    place.upstream.answer = lambda _: Script([raw], status=500, kind="text/html")
    got = place.ask()
    assert got.status_code == 500
    assert got.json()["error"]["code"] == "upstream_failed" and "text" not in got.text


@pytest.mark.parametrize(
    "script",
    [
        Script([b"data: {}"], kind="application/json"),
        Script([b"[]"], kind="application/json"),
        Script([b"{}"], kind="application/json"),
        Script([b'{"choices": []}'], kind="application/json"),
        Script([b'{"choices": [7]}'], kind="application/json"),
        Script([b'{"choices": [{"message": {"content": "x"}}]}'], kind="application/json"),
        Script([b'{"choices": [{"index": 1, "message": {}}]}'], kind="application/json"),
        Script([b'{"choices": [{"index": true, "message": {}}]}'], kind="application/json"),
        Script([b'{"choices": [{"index": 0, "message": "x"}]}'], kind="application/json"),
        Script([b'{"choices": [], "choices": []}'], kind="application/json"),
        Script([b'{"choices": "\xff"}'], kind="application/json"),
        whole(completion(choice("fine")), headers={"content-encoding": "gzip"}),
        whole(completion(choice("x" * 3000))),
    ],
    ids=range(13),
)
def test_answers_that_cannot_be_checked_are_typed_errors(script: Script) -> None:
    """502, and not a word of them."""
    with proxied(checking(having("MARK")), max_answer_bytes=2000) as place:
        place.upstream.answer = lambda _: script
        got = place.ask()
        assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream_malformed")


def test_an_upstream_that_hangs_or_is_not_there_is_a_typed_error() -> None:
    """Half open, cut in the middle, or down."""
    with proxied(checking(having("MARK")), read_timeout=0.2) as place:
        place.upstream.answer = lambda _: Script([b"{"], kind="application/json", then="stay")
        got = place.ask()
        assert (got.status_code, got.json()["error"]["code"]) == (504, "upstream_failed")
    with proxied(checking(having("MARK"))) as place:
        place.upstream.answer = lambda _: Script([b"{"], kind="application/json", then="cut")
        assert place.ask().status_code == 502
    down = upstream.Upstream("http://127.0.0.1:9", Settings())
    assert not asyncio.run(down.reachable())


def test_the_url_is_one_of_a_server() -> None:
    """With its path, or the API's own; without a user, a key or a query."""
    assert checked_url("http://h:8000") == checked_url("http://h:8000/") == "http://h:8000/v1"
    assert checked_url("https://h/api/v1/") == "https://h/api/v1"
    for wrong in ("h:8000", "ftp://h", "http://", "file:///etc"):
        with pytest.raises(ConfigError, match="not the URL"):
            checked_url(wrong)
    for wrong in ("http://u:p@h", "http://h?key=k", "http://h#f"):
        with pytest.raises(ConfigError, match="no user, key"):
            checked_url(wrong)
