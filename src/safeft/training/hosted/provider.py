"""OpenAI's files and fine-tuning endpoints, through its own client; nothing is made twice."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from safeft.errors import ModelError, SafeftError
from safeft.generation.endpoint import said_by
from safeft.generation.schema import Endpoint, installed
from safeft.training.hosted.ledger import Ledger

MARK = "safeft_run"  # the key of a job's metadata that holds the run's mark
LONGEST = 60.0  # seconds between two attempts
_REFUSED = (400, 401, 403, 404, 413, 422)
_NO_MONEY = "insufficient_quota"


class Provider:
    """Where files are uploaded and jobs run.

    What only reads is retried by the client. What makes something is not, since a request that
    timed out may have been served: it is looked for first, by the run's mark.
    """

    def __init__(self, url: str, settings: Endpoint | None = None) -> None:
        """Raises ConfigError when the client or the key is missing."""
        installed(url)
        self.url = url
        self.settings = settings or Endpoint()
        self._key = self.settings.key(url)

    def upload(self, ledger: Ledger, content: bytes) -> str:
        """The id of the uploaded training file."""
        name = f"safeft-{ledger.mark}.jsonl"

        def make() -> str:
            made = self._once.files.create(file=(name, content), purpose="fine-tune")
            return str(made.id)

        def find() -> str:
            files = self._client.files.list(purpose="fine-tune")
            return next((one.id for one in files if one.filename == name), "")

        return self._made(ledger, "file", make, find)

    def start(self, ledger: Ledger, file: str, request: dict[str, Any]) -> str:
        """The id of the job over the uploaded file; `request` is its model, seed and so on."""

        def make() -> str:
            made = self._once.fine_tuning.jobs.create(
                training_file=file, metadata={MARK: ledger.mark}, **request
            )
            return str(made.id)

        return self._made(ledger, "job", make, lambda: self.started(ledger))

    def started(self, ledger: Ledger) -> str:
        """The id of the job that this run has started, or nothing.

        A server may keep no metadata, but the file is this run's alone.
        """
        file = ledger.made.get("file", "none yet")
        with self._plainly("looking for the job"):
            for job in self._client.fine_tuning.jobs.list(limit=100):
                mark = (job.metadata or {}).get(MARK)
                if mark == ledger.mark or job.training_file == file:
                    return str(job.id)
        return ""

    def job(self, id: str) -> Any:
        """The job as it stands."""
        with self._plainly(f"asking for job {id}"):
            return self._client.fine_tuning.jobs.retrieve(id)

    def events(self, id: str) -> Iterator[Any]:
        """The job's events, the newest first."""
        with self._plainly(f"asking for the events of job {id}"):
            yield from self._client.fine_tuning.jobs.list_events(id, limit=100)

    def checkpoints(self, id: str) -> list[Any]:
        """The checkpoints that can be asked, in order of steps; none where a server keeps none."""
        import openai

        with self._plainly(f"asking for the checkpoints of job {id}"):
            try:
                found = list(self._client.fine_tuning.jobs.checkpoints.list(id, limit=100))
            except openai.NotFoundError:
                return []
        return sorted(found, key=lambda one: one.step_number)

    def cancel(self, id: str) -> Any:
        """The job, cancelled; an ended one stays as it ended."""
        with self._plainly(f"cancelling job {id}"):
            return self._client.fine_tuning.jobs.cancel(id)

    def _made(
        self, ledger: Ledger, what: str, make: Callable[[], str], find: Callable[[], str]
    ) -> str:
        """The id of what is made once, whatever becomes of this process or of the answer."""
        if what not in ledger.made:
            with self._plainly(f"asking for the {what}"):
                found = find() if what in ledger.asked else ""
                ledger.ask(what)
                ledger.got(what, found or self._tried(make, find))
        return ledger.made[what]

    def _tried(self, make: Callable[[], str], find: Callable[[], str]) -> str:
        """Made, or found after an attempt of which nobody knows whether it was served."""
        import openai

        for attempt in range(self.settings.retries):
            try:
                return make()
            except openai.APIError as error:
                if not _passing(error):
                    raise
                time.sleep(_pause(error, attempt))
                if found := find():
                    return found
        return make()

    @contextmanager
    def _plainly(self, doing: str) -> Iterator[None]:
        """The client's errors as ours, without the request, whose headers hold the key."""
        import openai

        try:
            yield
        except openai.APIError as error:
            said = f"{self.url}, {doing}: {said_by(error)}"
            if getattr(error, "status_code", None) in _REFUSED:
                raise ModelError(f"{said}; check the name, the key and --job-set") from error
            if error.code == _NO_MONEY:
                raise ModelError(f"{said}; the account has no money or quota left") from error
            raise SafeftError(f"{said}; run the same command again to go on") from error

    @cached_property
    def _client(self) -> Any:
        from openai import OpenAI

        settings = self.settings
        return OpenAI(
            base_url=self.url,
            api_key=self._key,
            timeout=settings.timeout,
            max_retries=settings.retries,
        )

    @cached_property
    def _once(self) -> Any:
        return self._client.with_options(max_retries=0)


def _passing(error: Any) -> bool:
    """Whether the same request may be served later."""
    status = getattr(error, "status_code", None)
    if status is None:  # timed out, or cut off
        return True
    crowded = status in (408, 409, 429) and error.code != _NO_MONEY
    return bool(crowded or status >= 500)


def _pause(error: Any, attempt: int) -> float:
    """Seconds as the server asks, or twice as many after each attempt."""
    response = getattr(error, "response", None)
    asked = response.headers.get("retry-after", "") if response is not None else ""
    given = re.fullmatch(r"\d+(\.\d+)?", asked)
    return min(float(asked) if given else 0.5 * 2**attempt, LONGEST)
