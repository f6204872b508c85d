"""A job until it ends: its events on disk and told, and what it ended as."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safeft.errors import DataError, RunError, SafeftError, printable
from safeft.runs import Lines
from safeft.training.hosted.provider import Provider

ENDED = ("succeeded", "failed", "cancelled")
Tell = Callable[[str], None]


def follow(provider: Provider, id: str, path: Path, every: float, tell: Tell) -> Any:
    """The ended job. Its events are kept at `path`, also over several attempts.

    Asks once in `every` seconds. A Ctrl-C leaves the job as it is, and says so.
    """
    try:
        if path.is_file():  # it had ended before
            return provider.job(id)
        with Lines(path) as lines:
            seen = {record["id"] for record in lines.done}
            while True:
                job = provider.job(id)
                ended = job.status in ENDED
                fresh = _fresh(provider.events(id), seen, whole=ended)
                lines.append(_record(one) for one in fresh)
                seen |= {one.id for one in fresh}
                for line in _lines(fresh):
                    tell(line)
                if ended:
                    return job
                time.sleep(every)
    except KeyboardInterrupt:
        tell(f"job {id} goes on at {provider.url}; --cancel stops it")
        raise


def check(job: Any) -> None:
    """Pass a job that succeeded.

    Raises DataError when the provider refuses the training file, RunError when the job was
    cancelled, SafeftError when it failed otherwise.
    """
    if job.status == "cancelled":
        raise RunError(f"job {job.id} was cancelled; choose another --output to start another")
    if job.status == "failed":
        error = job.error
        param = getattr(error, "param", None)
        said = f"job {job.id} failed: {getattr(error, 'message', None) or 'no reason was given'}"
        if param and param.endswith("_file"):
            raise DataError(f"{said} ({param}); mend the data and choose another --output")
        raise SafeftError(f"{said}; choose another --output to start another")


def _fresh(events: Iterable[Any], seen: set[str], *, whole: bool) -> list[Any]:
    """Events that were not seen, the oldest first; `whole` also looks behind those that were."""
    found = []
    for one in events:
        if one.id not in seen:
            found.append(one)
        elif not whole:
            break
    return found[::-1]


def _record(event: Any) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.created_at,
        "level": event.level,
        "message": event.message,
        "data": finite(event.data),
    }


def finite(value: Any) -> Any:
    """The same as JSON holds it: null for a diverged loss, which is NaN."""
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)


def _lines(events: Iterable[Any]) -> list[str]:
    """What a reader wants: every message, and of the metrics of many steps the newest."""
    metrics = [one for one in events if one.type == "metrics"]
    told = [one for one in events if one.type != "metrics" or one is metrics[-1]]
    return [
        f"{datetime.fromtimestamp(one.created_at, UTC):%H:%M:%S} {printable(one.message)}"
        for one in told
    ]
