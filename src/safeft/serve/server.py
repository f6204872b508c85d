"""How uvicorn is set up for it: with patience that ends, and errors that are typed."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from safeft.serve.problems import invalid
from safeft.serve.reading import write
from safeft.serve.settings import Settings


def server(application: ASGIApp, settings: Settings, **more: Any) -> uvicorn.Server:
    """A server that is ready to run; keywords are uvicorn's, such as host and port.

    Nothing of a request is logged: its headers hold keys.
    """
    own: dict[str, Any] = {
        "http": type("Patient", (_Patient,), {"seconds": settings.client_timeout}),
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "h11_max_incomplete_event_size": settings.max_header_bytes,
    }
    return uvicorn.Server(uvicorn.Config(application, **own | more))


class _Patient(H11Protocol):
    """Leaves clients that take longer to send their headers, or to take what is sent to them."""

    seconds: ClassVar[float]
    _sending: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has so long for its first headers."""
        super().connection_made(transport)
        self._sending = self._later()

    def data_received(self, data: bytes) -> None:
        """It still has, until they are whole."""
        super().data_received(data)
        incomplete = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not incomplete:
            self._sending = self._never(self._sending)
        elif self._sending is None:
            self._sending = self._later()

    def pause_writing(self) -> None:
        """It has so long to take what was sent."""
        super().pause_writing()
        self._taking = self._later()

    def resume_writing(self) -> None:
        """It took it."""
        super().resume_writing()
        self._taking = self._never(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        """It left; nobody is waited for."""
        self._sending, self._taking = self._never(self._sending), self._never(self._taking)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """In the API's shape."""
        body = write(invalid(msg, code="invalid_http").body).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.seconds, self.transport.abort)

    def _never(self, timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
        if timer is not None:
            timer.cancel()
        return None
