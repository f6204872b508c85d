"""Everything at once that can go wrong: requests, each with a fault of its own, all through one
proxy. `run` is the tests' (a few hundred) and the benchmark's (thousands).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
from guarding.reading import REFUSAL, checking

from safeft.guarding.decision import Decision
from safeft.records import Response
from serve.faulty import TIMEOUT, Faulty, Plan, plans, script
from serve.scripted import Counting, Place, Script, proxied
from serve.streamed import MARK


@dataclass
class Outcome:
    """What its client saw."""

    plan: Plan
    text: str = ""
    end: str = "left"


class Tally(Counting):
    """An observer that keeps numbers alone, so that memory can be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.marks_cleared = 0

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        self.outcomes[decision.outcome] += 1
        self.errors[decision.error] += 1
        self.marks_cleared += MARK in text.text and decision.clears


@dataclass
class Report:
    """All of them, and what the observer counted."""

    outcomes: list[Outcome]
    observer: Tally
    resident: list[int] = field(default_factory=list)
    """Bytes of memory, along the way."""

    def ends(self) -> dict[str, dict[str, int]]:
        """How requests ended, by what went wrong with them."""
        found: dict[str, Counter[str]] = {}
        for one in self.outcomes:
            name = f"{one.plan.upstream}, judge {one.plan.judge}, client {one.plan.client}"
            found.setdefault(name, Counter())[one.end] += 1
        return {name: dict(ends) for name, ends in sorted(found.items())}


async def _ask(client: httpx.AsyncClient, plan: Plan, arrived: asyncio.Event) -> Outcome:
    """One request, read as far as its client stays: until text has come, or it is under way."""
    body = {"model": "m", "messages": [{"role": "user", "content": str(plan.number)}]}
    path, found = "/v1/chat/completions", Outcome(plan)
    if not plan.stream:
        asked = asyncio.ensure_future(client.post(path, json=body))
        leaving = asyncio.ensure_future(arrived.wait())
        awaited = {asked, leaving} if plan.client == "leaves" else {asked}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if asked.done():
            _read_whole(found, asked.result())
        asked.cancel()
        return found
    async with client.stream("POST", path, json=body | {"stream": True}) as response:
        if response.status_code != 200:
            found.end = json.loads(await response.aread())["error"]["code"]
            return found
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                _read_event(found, line[6:])
            if plan.client == "leaves" and found.text:
                found.end = "left"
                return found
    return found


def _read_whole(found: Outcome, got: httpx.Response) -> None:
    if got.status_code != 200:
        found.end = got.json()["error"]["code"]
        return
    (only,) = got.json()["choices"]
    found.text, found.end = only["message"]["content"], only["finish_reason"]


def _read_event(found: Outcome, data: str) -> None:
    body = {} if data == "[DONE]" else json.loads(data)
    found.end = body.get("error", {}).get("code", found.end)
    for one in body.get("choices", []):
        found.text += one["delta"].get("content") or ""
        found.end = one["finish_reason"] or found.end


async def _ask_all(
    place: Place, planned: Sequence[Plan], together: int, resident: list[int]
) -> Any:
    loop, arrived = asyncio.get_running_loop(), [asyncio.Event() for _ in planned]

    def answer(body: dict[str, Any]) -> Script:
        plan = planned[int(body["messages"][0]["content"])]
        loop.call_soon_threadsafe(arrived[plan.number].set)
        return script(plan, stream=bool(body.get("stream")))

    place.upstream.answer = answer
    limits = httpx.Limits(max_connections=together)
    slots = asyncio.Semaphore(together)
    client = httpx.AsyncClient(
        base_url=place.url, verify=False, trust_env=False, timeout=60, limits=limits
    )

    async def one(plan: Plan) -> Outcome:
        async with slots:
            if plan.number % 500 == 0:
                resident.append(memory())
            return await _ask(client, plan, arrived[plan.number])

    async with client:
        return await asyncio.gather(*map(one, planned))


def run(count: int, seed: int = 0, together: int = 16) -> Report:
    """So many requests, so many of them at once."""
    planned, resident = plans(count, seed), []
    checker = checking(Faulty(planned), output={"timeout": TIMEOUT}, input={})
    tally = Tally()
    with proxied(checker, observer=tally, read_timeout=1.0, keep_alive=0.2) as place:
        place.upstream.asked = deque(maxlen=1)
        outcomes = asyncio.run(_ask_all(place, planned, together, resident))
        place.observer.wait_for(count)
    return Report(outcomes, tally, [*resident, memory()])


def broken(report: Report) -> list[str]:
    """Which laws do not hold, and for which requests."""
    found = [f"{one.plan.number}: {law}" for one in report.outcomes if (law := _law(one))]
    asked, counted = len(report.outcomes), len(report.observer.requests)
    if counted != asked or report.observer.present:
        found.append(f"{counted} of {asked} counted, {report.observer.present} still present")
    if report.observer.marks_cleared:
        found.append(f"{report.observer.marks_cleared} marked windows were cleared")
    return found


def _law(one: Outcome) -> str:
    """What is wrong with what a client saw."""
    plan, text = one.plan, one.text.removesuffix(REFUSAL)
    reads = plan.judge in ("sound", "slow")  # a slow one is right where there was time for it
    if MARK in text:
        return "the mark was released"
    if not plan.cleared.startswith(text):
        return "what was released is no prefix of what was cleared"
    if text and not reads:
        return f"text was released though its judge {plan.judge}"
    if one.end == "content_filter" and not (reads and MARK in plan.text):
        return "a failure looks like a block"
    if one.end == "stop" and (plan.upstream != "fine" or text != plan.text):
        return "an answer that broke looks whole"
    return ""


def memory() -> int:
    """Resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)
