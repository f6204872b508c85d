"""Sockets and the server behind the server; the one in front is tested at the command line."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from safeft.errors import ConfigError
from safeft.serve.running import address, bound, loopback

PATIENCE = 300.0  # seconds; only a hang takes so long


def test_any_free_port_is_taken_and_listened_on() -> None:
    """Whoever calls before the server runs is not refused."""
    with bound("127.0.0.1", 0) as on:
        place = urlsplit(address(on))
        assert place.scheme == "http" and place.port
        with socket.create_connection((place.hostname, place.port), PATIENCE):
            pass


def test_a_port_in_use_is_named() -> None:
    """With what to do about it."""
    with bound("127.0.0.1", 0) as on:
        port = on.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1, port {port}: Address.* --port"):
            bound("127.0.0.1", port)
    bound("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "not a host"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    """Nor can a name that nobody knows be listened on."""
    with pytest.raises(ConfigError, match=rf"cannot listen on {host}, port 0: .* --host"):
        bound(host, 0)


def test_an_address_of_six_is_written_in_brackets() -> None:
    """As a URL needs it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        on = bound("::1", 0)
    except ConfigError:
        pytest.skip("no IPv6 on this machine")
    with on:
        assert address(on) == f"http://[::1]:{on.getsockname()[1]}"


def test_the_loopback_streams_and_ends() -> None:
    """Each piece arrives before the next one is made, and nobody is there afterwards."""
    read = [threading.Event() for _ in range(3)]

    async def pieces() -> AsyncIterator[str]:
        for number, event in enumerate(read):
            yield f"{number}\n"
            assert await asyncio.to_thread(event.wait, PATIENCE)

    async def answer(_: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    with loopback(Starlette(routes=[Route("/", answer)])) as url:
        with httpx.stream("GET", url, timeout=PATIENCE) as response:
            for number, line in enumerate(response.iter_lines()):
                assert line == str(number)
                read[number].set()
        assert urlsplit(url).hostname == "127.0.0.1"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
