"""A guarded server out of its parts: the proxy, who watches it, and what a reload changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from safeft.errors import SafeftError, StoredError, UserError, first_line
from safeft.guarding.checker import Checker
from safeft.guarding.loading import checker
from safeft.guarding.states import attach
from safeft.records import Prompt, Response
from safeft.serve.app import app
from safeft.serve.decisions import Decisions
from safeft.serve.guardroom import Guardroom
from safeft.serve.metrics import Metrics, categories
from safeft.serve.observer import Observer
from safeft.serve.settings import Settings
from safeft.serve.telemetry import Telemetry, available
from safeft.serve.together import Together
from safeft.serve.upstream import Upstream

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from safeft.serve.generating import Writer

_LOG = logging.getLogger("safeft")
_HELLO = Response(Prompt.of("Hello."), "Hello. How can I help?")


class LentSettings(Settings):
    """For a local model: the upstream takes one key, which is this process's own."""

    lent: SecretStr

    @property
    def upstream_key(self) -> str:
        """The key of the local model's server."""
        return self.lent.get_secret_value()


def awake(made: Checker) -> Checker:
    """The checker, whose judges have answered once, so that no request waits for their weights.

    Raises UserError or StoredError for a judge that never will, such as a model that is not there;
    of one that fails otherwise, as an endpoint may for a while, a warning tells.
    """
    for name in made.policy.stages:
        for judge in [made.judges[name], *([made.seconds[name]] if name in made.seconds else [])]:
            try:
                _ = judge.requests([_HELLO.prompt]) if name == "input" else judge([_HELLO])
            except (UserError, StoredError):
                made.close()
                raise
            except Exception as error:  # of whatever library runs it
                said = f"{type(error).__name__}: {first_line(error)}"
                _LOG.warning("%s does not answer at the %s yet: %s", judge.name, name, said)
    return made


class Serving:
    """A policy in force, who watches it, and the application that it guards."""

    def __init__(
        self,
        policy: str,
        *,
        decisions: Path | None = None,
        log_text: bool = False,
        trace_text: bool = False,
        writer: Callable[[], Writer] | None = None,
    ) -> None:
        """`log_text` writes what was decided about into the log of decisions, `trace_text` into
        the spans. `writer` loads the local model that is guarded, once the policy is known to be
        valid. Raises UserError for the policy, one of its judges, the model or the log's file.
        """
        made = checker(policy)
        self.writer = writer() if writer is not None else None
        self._source, self._checker = policy, self._ready(made)
        self._metrics = Metrics(categories(self._checker))
        self._decisions = Decisions(decisions, text=log_text) if decisions else None
        self._telemetry = Telemetry(text=trace_text) if available() else None
        self._room: Guardroom | None = None

    def _ready(self, made: Checker) -> Checker:
        """The checker, awake; its probes read along with the local model from now on."""
        probes = attach(made, *self.writer.served) if self.writer is not None else []
        awake(made)
        if self.writer is not None:
            self.writer.probes = probes
        return made

    def before(self, upstream: str, settings: Settings) -> ASGIApp:
        """The application that guards this server.

        Raises ConfigError for the URL, and for a key that is not in the environment.
        """
        watching: list[Observer | None] = [self._metrics, self._decisions, self._telemetry]
        observer = Together([one for one in watching if one is not None])
        proxy = app(upstream, self._checker, settings, observer)
        self._room = proxy.state.guardroom
        return proxy if self._telemetry is None else self._telemetry.traced(proxy)

    def reload(self) -> str:
        """Reads the policy again, for the requests to come, and opens the log of decisions anew.

        Returns what came of it in one message; what cannot be used leaves all as it was.
        """
        said = [self._reopened(), self._swapped()]
        return "; ".join(one for one in said if one)

    def _swapped(self) -> str:
        try:
            new = self._ready(checker(self._source))
        except SafeftError as error:
            return f"the former policy stays in force: {error}"
        except Exception as error:  # of whatever library loads a judge
            return f"the former policy stays in force: {type(error).__name__}: {first_line(error)}"
        self._metrics.know(categories(new))
        if self._room is not None:
            self._room.swap(new)
        self._checker = new
        return f"policy {new.policy.name!r} is in force"

    def _reopened(self) -> str:
        try:
            if self._decisions is not None:
                self._decisions.reopen()
        except OSError as error:
            return f"the former log of decisions is written on: {error.strerror}"
        return ""


async def reachable(upstream: str, settings: Settings) -> bool:
    """Whether the upstream answers now. Raises ConfigError for its URL or a key."""
    asked = Upstream(upstream, settings)
    try:
        return await asked.reachable()
    finally:
        await asked.close()
