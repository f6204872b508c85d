"""Typed errors, in the shape of the OpenAI API. A failure of the guard is never a block."""

from __future__ import annotations

from typing import Any

from safeft.errors import SafeftError

UPSTREAM_FAILED = "upstream_failed"
UPSTREAM_MALFORMED = "upstream_malformed"
GUARD_FAILED = "guard_failed"
_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Problem(SafeftError):  # noqa: N818 (named after what a client is told, RFC 9457)
    """What ends a request: its status, and the error object that its client reads."""

    def __init__(
        self, status: int, code: str, message: str, *, kind: str = "", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = kind or _KINDS.get(status, "server_error" if status >= 500 else "")
        self.error: dict[str, Any] = {
            "message": message,
            "type": kind or "invalid_request_error",
            "param": param,
            "code": code,
        }
        self.more: dict[str, Any] = {}
        self.headers: dict[str, str] = {}

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {"error": self.error, **self.more}


def invalid(message: str, param: str | None = None, code: str = "invalid_request") -> Problem:
    """A request that cannot be read, and why."""
    return Problem(400, code, message, param=param)


def failed(message: str, status: int = 502) -> Problem:
    """The upstream did not answer, or not to the end."""
    return Problem(status, UPSTREAM_FAILED, message, kind="upstream_error")


def malformed(message: str) -> Problem:
    """The upstream answered something that cannot be read, and so not be checked."""
    return Problem(502, UPSTREAM_MALFORMED, message, kind="upstream_error")


def unguarded(error: str, moderation: dict[str, Any]) -> Problem:
    """The guard could not tell, and the policy says to withhold then."""
    problem = Problem(
        503, GUARD_FAILED, f"the guard could not check this ({error})", kind="guard_error"
    )
    problem.more["moderation"] = moderation
    return problem
