"""The door: which paths there are, who comes in, how much and how many."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from guarding.reading import checking, having

from serve.scripted import (
    ASKED,
    PATIENCE,
    Place,
    Script,
    answered,
    choice,
    completion,
    proxied,
    sse,
    whole,
)

KIND = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with proxied(checking(having("MARK")), max_body_bytes=2000, max_header_bytes=4000) as found:
        found.upstream.answer = lambda _: whole(completion(choice("fine")))
        yield found


def raw(place: Place, request: bytes) -> tuple[int, bytes]:
    """What a socket gets for these bytes: the status and the body."""
    parts = urlsplit(place.url)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as sock:
        sock.sendall(request)
        data = b""
        while part := sock.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/chat/%63ompletions",
        "/V1/chat/completions",
        "/v1/chat/completions;x",
        "/v1/../v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/chat/completions%00",
        "/v1/responses",
        "/v1/messages",
        "/v1/embeddings",
        "/v1/score",
        "/v1/audio/speech",
        "/chat/completions",
        "/openai/deployments/m/chat/completions",
        "/invocations",
        "/generate",
        "/tokenize",
        "/metrics/",
        "/docs",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_there_is_no_other_path(place: Place, method: str, path: str) -> None:
    """Each is a typed 404, and the upstream never hears of it."""
    before = len(place.upstream.asked)
    status, body = raw(
        place,
        f"{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"
        "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}".encode(),
    )
    assert status == 404
    assert body == b"" if method == "HEAD" else json.loads(body)["error"]["code"] == "not_found"
    assert len(place.upstream.asked) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("HEAD", "/v1/models"),
        ("OPTIONS", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("POST", "/health"),
        ("HEAD", "/health"),
        ("GET", "/v1/moderations"),
        ("TRACE", "/v1/chat/completions"),
        ("GET", "/v1/models/"),
        ("POST", "http://elsewhere.example/v1/chat/completions"),
    ],
)
def test_nor_another_method(place: Place, method: str, path: str) -> None:
    """A known path has one method, and no absolute address."""
    head = f"{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
    assert raw(place, head.encode())[0] == 404


def test_models_are_the_upstreams_and_of_its_list(place: Place) -> None:
    """A model's id reaches no path of the upstream, whatever slashes or dots it has."""
    models = [{"id": "org/model", "object": "model"}, {"id": "m", "object": "model"}]
    listed = {"object": "list", "data": models}
    place.upstream.answer = lambda _: whole(listed)
    assert place.http.get("/v1/models").json() == listed
    assert [one.id for one in place.client.models.list()] == ["org/model", "m"]
    for path in ("org/model", "org%2Fmodel"):
        assert (
            raw(place, f"GET /v1/models/{path} HTTP/1.0\r\n\r\n".encode())[1]
            == json.dumps(models[0], separators=(",", ":")).encode()
        )
    for path in ("..", "../../metrics", "%2e%2e/health", "x"):
        status, body = raw(place, f"GET /v1/models/{path} HTTP/1.0\r\n\r\n".encode())
        assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
    assert {one.path for one in place.upstream.asked if one.method == "GET"} == {"/v1/models"}
    place.upstream.answer = lambda _: whole(completion(choice("fine")))


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", KIND, 400, "invalid_json"),
        (b"[]", KIND, 400, "invalid_json"),
        (b"{", KIND, 400, "invalid_json"),
        (b'{"a": "\xff"}', KIND, 400, "invalid_json"),
        (b'{"a": 1, "a": 2}', KIND, 400, "invalid_json"),
        (b'{"a": NaN}', KIND, 400, "invalid_json"),
        (b"[" * 1900, KIND, 400, "invalid_json"),
        ('{"a": 1}'.encode("utf-16"), KIND, 400, "invalid_json"),
        (b"{}", {}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", KIND | {"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        (b" " * 2001, KIND, 413, "too_large"),
        (b" " * 20_000, KIND, 413, "too_large"),
        (b"{}", KIND | {"x-long": "x" * 3900}, 431, "headers_too_large"),
        (b'{"messages": []}', KIND, 400, "invalid_request"),
        (b'{"messages": [{"role": "user"}], "stream": "yes"}', KIND, 400, "invalid_request"),
        (b'{"messages": [{"role": "user"}], "stream": 1}', KIND, 400, "invalid_request"),
        (b'{"messages": [{"role": "user"}], "n": 1e9}', KIND, 400, "invalid_request"),
        (b'{"messages": [{"role": "user"}], "stream_options": 1}', KIND, 400, "invalid_request"),
    ],
    ids=range(19),
)
def test_what_cannot_be_read_is_a_typed_error(
    place: Place, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """In the API's shape, and the upstream never hears of it."""
    before = len(place.upstream.asked)
    got = place.ask(content=content, headers=headers)
    assert (got.status_code, got.json()["error"]["code"]) == (status, code)
    assert set(got.json()["error"]) == {"message", "type", "param", "code"}
    assert len(place.upstream.asked) == before


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nx-long: " + b"x" * 5000, b"no HTTP at all\r\n\r\n", b"\x16\x03\x01"],
)
def test_what_is_no_request_is_a_typed_error(place: Place, sent: bytes) -> None:
    """Headers without end are cut off long before they fill the memory."""
    status, body = raw(place, sent + b"\r\n")
    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_http")


def test_a_body_in_pieces_has_the_same_limit(place: Place) -> None:
    """One that does not say beforehand how long it is."""
    got = place.ask(content=iter([b" " * 500] * 8), headers=KIND)
    assert (got.status_code, got.json()["error"]["code"]) == (413, "too_large")


def test_so_many_answers_at_once_and_no_more() -> None:
    """One more is told to come again, and comes again once one has ended."""
    with proxied(checking(having("MARK")), max_streams=2) as place:
        place.upstream.answer = lambda _: Script(sse(answered(["a"]), done=False)[:1], then="stay")
        body = {"model": "m", "messages": ASKED, "stream": True}
        first = place.http.stream("POST", "/v1/chat/completions", json=body)
        second = place.http.stream("POST", "/v1/chat/completions", json=body)
        with first as one, second as two:
            # Kept until the end: an iterator that is let go closes its connection.
            streams = one.iter_raw(), two.iter_raw()
            assert all(next(stream) for stream in streams)
            refused = place.ask()
            assert (refused.status_code, refused.json()["error"]["type"]) == (
                429,
                "rate_limit_error",
            )
            assert place.http.get("/health").status_code == 200
        place.observer.wait_for(4)
        place.upstream.answer = lambda _: whole(completion(choice("fine")))
        assert place.ask().status_code == 200


def test_every_request_is_counted_with_its_end() -> None:
    """By its route, or as another; when its client left, as that."""
    with proxied(checking(having("MARK"))) as place:
        place.upstream.answer = lambda _: whole(completion(choice("fine")))
        place.ask(), place.http.get("/nowhere"), place.http.get("/v1/models/x")
        place.ask(content=b"{", headers=KIND)
        left, release = threading.Event(), threading.Event()
        place.upstream.answer = lambda _: Script(
            before=lambda: left.set() or release.wait(PATIENCE), then="stay"
        )
        gone = socket.create_connection(urlsplit(place.url).netloc.split(":"), PATIENCE)
        body = json.dumps({"model": "m", "messages": ASKED}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: {len(body)}\r\n"
        gone.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
        assert left.wait(PATIENCE)
        gone.close()
        place.observer.wait_for(5)
        release.set()
        assert place.upstream.left.acquire(timeout=PATIENCE), "the upstream is not asked any more"
        assert place.observer.requests == [
            ("/v1/chat/completions", 200),
            ("other", 404),
            ("/v1/models/{id}", 404),
            ("/v1/chat/completions", 400),
            ("/v1/chat/completions", 499),
        ]
        assert place.observer.present == 0


def test_what_fails_inside_is_a_typed_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And says nothing of what it failed on."""

    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("the words of a request")

    monkeypatch.setattr("safeft.serve.app.exchange", failing)
    with proxied(checking(having("MARK"))) as place:
        got = place.ask()
        assert (got.status_code, got.json()["error"]["code"]) == (500, "internal_error")
    assert "the words" not in got.text + caplog.text and "RuntimeError" in caplog.text


def test_a_policy_of_any_name_is_told() -> None:
    """A header holds ASCII alone."""
    with proxied(checking(having("MARK"), name="für alle\n")) as place:
        place.upstream.answer = lambda _: whole(completion(choice("fine")))
        assert place.ask().headers["x-safeft-policy"] == "f%C3%BCr%20alle%0A"


def test_health_and_metrics_say_what_is_there(place: Place) -> None:
    """Whether the upstream answers, who guards, and what the observer counted."""
    got = place.http.get("/health").json()
    assert got == {
        "status": "ok",
        "upstream": "reachable",
        "policy": "test",
        "judges": {"output": "reading@1"},
    }
    metrics = place.http.get("/metrics")
    assert (metrics.text, metrics.headers["content-type"]) == (
        "counted 1\n",
        "text/plain; version=0.0.4",
    )
    place.upstream.answer = lambda _: Script(status=500)
    down = place.http.get("/health")
    assert (down.status_code, down.json()["upstream"]) == (503, "unreachable")
    place.upstream.answer = lambda _: whole(completion(choice("fine")))
