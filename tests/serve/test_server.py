"""Clients that are slow, or gone, or say nothing: the server waits for none of them without end."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
from guarding.reading import Reading, checking, having, policy

from safeft.guarding.checker import Checker
from serve.scripted import ASKED, LONG, PATIENCE, Place, Script, answered, proxied, sse

BODY = json.dumps({"model": "m", "messages": ASKED, "stream": True}).encode()
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
)


def connected(place: Place, *, narrow: bool = False) -> socket.socket:
    """A client of bare bytes; a narrow one takes little before it reads."""
    sock = socket.socket()
    if narrow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    parts = urlsplit(place.url)
    sock.connect((parts.hostname, parts.port))
    return sock


def rest(sock: socket.socket) -> bytes:
    """What comes until the server closes."""
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


@pytest.mark.parametrize("sent", [b"", b"POST /v1", b"GET / HTTP/1.1\r\nhost: h\r\nx-slow: "])
def test_headers_that_do_not_come_are_not_waited_for(sent: bytes) -> None:
    """The connection is closed; it never was a request."""
    with proxied(checking(having("MARK")), client_timeout=1.0) as place:
        with connected(place) as sock:
            sock.sendall(sent)
            assert rest(sock) == b""
        assert place.observer.requests == []


def test_a_second_request_has_no_more_time_than_the_first() -> None:
    """On a connection that is kept."""
    with proxied(checking(having("MARK")), client_timeout=1.0) as place:
        with connected(place) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n")
            place.observer.wait_for(1)
            sock.sendall(b"GET /met")
            assert rest(sock).count(b"200 OK") == 1
        assert place.observer.requests == [("/metrics", 200)]


def test_a_body_that_does_not_come_is_a_typed_error() -> None:
    """408, and the connection ends there; the upstream never hears of it."""
    with proxied(checking(having("MARK")), client_timeout=1.0) as place:
        with connected(place) as sock:
            sock.sendall(HEAD + BODY[:-1])
            answer = rest(sock)
        assert b"408" in answer.split(b"\r\n")[0] and b'"code":"timeout"' in answer
        assert place.upstream.asked == []
        assert place.observer.requests == [("/v1/chat/completions", 408)]


def test_a_client_that_takes_nothing_is_left() -> None:
    """And so is its upstream: neither is held open for it, nor its answer kept in memory."""
    unread = Checker(policy(output=None, input={}), {"input": having("MARK")})
    with proxied(unread, client_timeout=1.0) as place:
        pieces = sse(answered([LONG * 300] * 300))
        place.upstream.answer = lambda _: Script(pieces, then="stay")
        with connected(place, narrow=True) as sock:
            sock.sendall(HEAD + BODY)
            assert place.upstream.left.acquire(timeout=PATIENCE)
            place.observer.wait_for(1)
        assert place.observer.requests == [("/v1/chat/completions", 499)]
        assert place.observer.present == 0


@pytest.mark.parametrize("held", [False, True])
def test_a_client_that_leaves_takes_its_upstream_along(held: bool) -> None:
    """While it reads, and while all that it could read is held."""
    free, busy = threading.Event(), threading.Event()

    def score(_: str) -> float:
        busy.set()
        return float(held and not free.wait(PATIENCE))

    with proxied(checking(Reading(score), output={"timeout": 60.0})) as place:
        place.upstream.answer = lambda _: Script(sse(answered([LONG]))[:2], then="stay")
        with connected(place) as sock:
            sock.sendall(HEAD + BODY)
            assert busy.wait(PATIENCE)
        assert place.upstream.left.acquire(timeout=PATIENCE)
        place.observer.wait_for(1)
        assert place.observer.requests == [("/v1/chat/completions", 499)]
        free.set()


def test_a_client_with_patience_is_served_to_the_end(caplog: Any) -> None:
    """However slowly it reads, as long as it reads; and nothing is logged of it."""
    with proxied(checking(having("MARK")), client_timeout=20.0) as place:
        place.upstream.answer = lambda _: Script(sse(answered([LONG] * 50)))
        with connected(place, narrow=True) as sock:
            sock.sendall(HEAD.replace(b"host: h", b"host: h\r\nconnection: close") + BODY)
            data = b""
            while part := sock.recv(700):
                data += part
        assert data.count(b"one two") == 4 * 50 and b"[DONE]" in data
        place.observer.wait_for(1)
    assert caplog.text == ""
