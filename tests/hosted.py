"""A real HTTP server with OpenAI's files and fine-tuning endpoints; it fails when a test says so.

It also answers chat completions, as `endpoint.Server` does.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

from endpoint import Handler, Server, running

STATES = ("validating_files", "queued", "running")
FAILURE = {"code": "invalid_file", "param": "training_file", "message": "Row 3 has no answer."}
Fault = Callable[["Desk", str, int], bool]


class Provider(Server):
    """Files and jobs in memory. A job takes a state further each time that it is looked at.

    `broken(handler, call, attempt)` may answer in place of a call such as `POST jobs`; a call in
    `lost` is served once without an answer, until `release`.
    """

    def __init__(self) -> None:
        super().__init__(Desk)
        self.files: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.broken: Fault = lambda *_: False
        self.lost: set[str] = set()
        self.release = threading.Event()
        self.outcome = "succeeded"
        self.error: dict[str, Any] = FAILURE
        self.held = False  # whether jobs stay as they are
        self.keeps_metadata = True
        self.keeps_checkpoints = True

    def looked_at(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job, one state further on than before."""
        looks = job.pop("looks")
        ended = job["status"] in ("succeeded", "failed", "cancelled")
        if not ended and not self.held:
            job["status"] = [*STATES, self.outcome][min(looks, len(STATES))]
            looks += 1
        job["looks"] = looks
        if job["status"] == "succeeded":
            name = f"ft:{job['model']}:org::{job['id'][-1]}"
            job |= {"fine_tuned_model": name, "trained_tokens": 1234, "finished_at": 160}
        if job["status"] == "failed":
            job["error"] = self.error
        return shown(job)

    def events(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Two for each state that it has been in, the newest first."""
        found = []
        for place in range(job["looks"]):
            state = [*STATES, self.outcome][min(place, len(STATES))]
            data = {"step": place, "train_loss": float("nan") if place == 2 else 0.5}
            found += [
                event(2 * place, f"now {state}\x1b[2J" if state == "queued" else f"now {state}"),
                event(2 * place + 1, f"Step {place}", type="metrics", data=data),
            ]
        return found[::-1]


class Desk(Handler):
    """Serves one request."""

    server: Provider

    def do_GET(self) -> None:
        """Reads, and the newest first."""
        self.received("GET", lambda place, query: self.read(place, query))

    def do_POST(self) -> None:
        """An upload, a job, a cancellation, or a chat."""
        if self.path.endswith("/completions"):
            super().do_POST()
            return
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received("POST", lambda place, _: self.made(place, body))

    def received(self, verb: str, serve: Callable[[list[str], dict[str, Any]], Any]) -> None:
        """Counts the call, and answers it unless a fault does or its answer is lost."""
        address = urlsplit(self.path)
        place = address.path.removeprefix("/v1/").removeprefix("fine_tuning/").split("/")
        call = f"{verb} {'/'.join('*' if '-' in one else one for one in place)}"
        with self.server.lock:
            self.server.keys.add(self.headers["authorization"])
            self.server.calls[call] += 1
            attempt = self.server.calls[call]
        if self.server.broken(self, call, attempt):
            return
        with self.server.lock:
            answer = serve(place, parse_qs(address.query))
        if call in self.server.lost:
            self.server.lost.remove(call)
            self.server.release.wait()
            return
        status = 200 if answer is not None else 404
        self.answer(status, answer or {"error": {"message": "no such thing", "code": None}})

    def read(self, place: list[str], query: dict[str, Any]) -> Any:
        """A list, or one thing."""
        server = self.server
        match place:
            case ["files"]:
                return listed(list(server.files.values())[::-1], query)
            case ["jobs"]:
                return listed([shown(job) for job in server.jobs.values()][::-1], query)
            case ["jobs", id] if id in server.jobs:
                return server.looked_at(server.jobs[id])
            case ["jobs", id, "events"]:
                return listed(server.events(server.jobs[id]), query)
            case ["jobs", id, "checkpoints"] if server.keeps_checkpoints:
                return listed([checkpoint(server.jobs[id], step) for step in (20, 10)], query)
        return None

    def made(self, place: list[str], body: bytes) -> Any:
        """A file, a job, or a cancelled job."""
        server = self.server
        match place:
            case ["files"]:
                return server.files.setdefault(f"file-{len(server.files)}", self.file(body))
            case ["jobs"]:
                return self.job(json.loads(body))
            case ["jobs", id, "cancel"]:
                server.jobs[id]["status"] = "cancelled"
                return shown(server.jobs[id])
        return None

    def file(self, body: bytes) -> dict[str, Any]:
        """What was uploaded, with its bytes."""
        head = f"content-type: {self.headers['content-type']}\n\n".encode()
        parts: Any = BytesParser().parsebytes(head + body).get_payload()
        fields: dict[str, Message] = {
            str(part.get_param("name", header="content-disposition")): part for part in parts
        }
        content: Any = fields["file"].get_payload(decode=True)
        return {
            "id": f"file-{len(self.server.files)}",
            "object": "file",
            "bytes": len(content),
            "created_at": 100,
            "filename": fields["file"].get_filename(),
            "purpose": fields["purpose"].get_payload(),
            "status": "processed",
            "content": content.decode(),
        }

    def job(self, request: dict[str, Any]) -> Any:
        """A job over an uploaded file."""
        server = self.server
        server.requests.append(request)
        name = f"ftjob-{len(server.jobs)}"
        server.jobs[name] = {
            "id": name,
            "object": "fine_tuning.job",
            "created_at": 100,
            "model": request["model"],
            "training_file": request["training_file"],
            "seed": request["seed"],
            "metadata": request["metadata"] if server.keeps_metadata else None,
            "hyperparameters": request["method"]["supervised"]["hyperparameters"],
            "status": STATES[0],
            "organization_id": "org",
            "result_files": [],
            "fine_tuned_model": None,
            "finished_at": None,
            "trained_tokens": None,
            "error": None,
            "looks": 0,
        }
        return shown(server.jobs[name])


def shown(job: dict[str, Any]) -> dict[str, Any]:
    """A job without our own counter."""
    return {key: value for key, value in job.items() if key != "looks"}


def listed(items: list[dict[str, Any]], query: dict[str, Any]) -> dict[str, Any]:
    """A page of two, so that a client must ask for more."""
    after = query.get("after", [None])[0]
    start = next((n + 1 for n, one in enumerate(items) if one["id"] == after), 0)
    page = items[start : start + 2]
    return {"object": "list", "data": page, "has_more": start + 2 < len(items)}


def event(number: int, message: str, **more: Any) -> dict[str, Any]:
    """An event of a job."""
    return {
        "id": f"ftevent-{number}",
        "object": "fine_tuning.job.event",
        "created_at": 100 + number,
        "level": "info",
        "message": message,
        "type": "message",
        "data": {},
        **more,
    }


def checkpoint(job: dict[str, Any], step: int) -> dict[str, Any]:
    """A checkpoint of a job."""
    return {
        "id": f"ftckpt-{step}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": 100 + step,
        "fine_tuned_model_checkpoint": f"ft:{job['model']}:org::{job['id'][-1]}:step-{step}",
        "fine_tuning_job_id": job["id"],
        "step_number": step,
        "metrics": {"step": step, "train_loss": 1.0 / step},
    }


def status(number: int, words: str, **more: Any) -> Callable[[Desk], bool]:
    """Answers with an error in the API's own shape."""

    def say(handler: Desk) -> bool:
        body = {"error": {"message": words, "type": "x", "param": None, "code": None, **more}}
        handler.answer(number, body, {"retry-after": "0"})
        return True

    return say


@contextmanager
def providing() -> Iterator[Provider]:
    """The provider, until the block ends."""
    made = Provider()
    with running(made):
        try:
            yield made
        finally:
            made.release.set()
