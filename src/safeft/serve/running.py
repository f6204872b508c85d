"""Servers that run: the one that people ask, and one behind it that only this process can ask."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from safeft.errors import ConfigError, SafeftError
from safeft.serve.server import server
from safeft.serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_LOG = logging.getLogger("safeft")
_CURES = {
    errno.EADDRINUSE: "name another port with --port, or stop what runs there",
    errno.EACCES: "name a port above 1023 with --port",
}


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there already; port 0 takes any that is free.

    Whoever asks before the server runs waits, and is not refused. Raises ConfigError when the
    address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(place)
            made.listen(2048)
            return socket.socket(fileno=made.detach())
    except OSError as error:
        cure = _CURES.get(error.errno or 0, "name an address of this machine with --host")
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror}; {cure}"
        ) from error


def address(of: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = of.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    app: ASGIApp,
    on: socket.socket,
    settings: Settings,
    *,
    reload: Callable[[], None],
    grace: int,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then for at most `grace` seconds what is under way.

    At SIGHUP `reload` runs in a thread, one after the other, while everything goes on. `ready` is
    called once signals are heard: before that, SIGHUP would end the process.
    """
    made = server(app, settings, timeout_graceful_shutdown=grace)

    def leave(*_: Any) -> None:
        made.should_exit = True

    # uvicorn's own handlers stand while it serves. Afterwards it raises the signal once more, for
    # whoever had set handlers before: here that is the end, and no failure.
    former = {one: signal.signal(one, leave) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        asyncio.run(_serve(made, on, reload, ready))
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)


async def _serve(
    made: uvicorn.Server,
    on: socket.socket,
    reload: Callable[[], None],
    ready: Callable[[], None],
) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    reloading = asyncio.create_task(_reload(asked, reload))
    ready()
    try:
        await made.serve([on])
    finally:
        reloading.cancel()


async def _reload(asked: asyncio.Event, reload: Callable[[], None]) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await asyncio.to_thread(reload)
        except Exception as error:  # the next signal is heard all the same
            _LOG.error("the reload failed: %s", type(error).__name__)


@contextmanager
def loopback(app: ASGIApp) -> Iterator[str]:
    """The URL of the app on a free port of 127.0.0.1, served by a thread until the block ends."""
    on = bound("127.0.0.1", 0)
    made = server(app, Settings(), timeout_graceful_shutdown=1)
    thread = threading.Thread(target=made.run, args=([on],), name="safeft-loopback", daemon=True)
    thread.start()
    try:
        while not made.started:
            if not thread.is_alive():
                raise SafeftError("the local model's server did not start")
            time.sleep(0.01)  # uvicorn tells nobody when it has started
        yield address(on)
    finally:
        made.should_exit = True
        thread.join()
