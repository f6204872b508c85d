"""What a guarded proxy adds to a call: safeft beside LiteLLM's proxy and NeMo Guardrails' server.

    python benchmarks/serving/overhead.py --peers PYTHON --output FILE

Every server stands before the same upstream, once without a check and once with the same search
for words in answers (`words.py`). Whole answers and streams, one request at a time and several,
are asked for in rounds: in each round every server, and the upstream directly, gets the same
requests, in a new order. What a server adds is a quantile of its latencies less the same quantile
of the direct ones; its interval is a bootstrap over rounds. README.md says more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from client import Address, Heard, ask_all, sound
from peers import (
    Spec,
    cpu_seconds,
    litellm,
    measured_on,
    mock,
    nemo,
    peer_versions,
    running,
    safeft,
)
from peers import words_policy as policy
from quantities import Rounds, added, quantile, rounded
from words import WORDS, held

DIRECT = "direct"
PEERS = ("litellm", "nemo", "nemo-iorails")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LIMIT = 0.003
"""Seconds that the proxy may add to the median call, without a judge."""


@dataclass(frozen=True, slots=True)
class Side:
    """A server that is measured, with or without the check; or direct calls."""

    name: str
    check: str
    where: Address
    process: subprocess.Popen[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of load: whole answers or streams, and how many requests at once."""

    stream: bool
    at_once: int


@dataclass
class Found:
    """What one side showed under one load."""

    rounds: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    problems: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    cpu: float = 0.0

    def add(self, heard: Sequence[Heard], cell: Cell, tokens: int | None) -> None:
        """A round. `tokens` is given where the answer is known; another one is a problem."""
        self.asked += len(heard)
        good = sound(heard, self.problems, tokens)
        self.rounds["total"].append([one.last for one in good])
        if cell.stream:
            self.rounds["first"].append([one.first for one in good])
            self.rounds["per_token"].append([one.per_token for one in good])

    def metric(self, name: str) -> Rounds:
        """One array a round."""
        return [np.array(one) for one in self.rounds[name]]


def sides(folder: Path, upstream: Address, arguments: argparse.Namespace) -> list[tuple[str, Spec]]:
    """Every server that is wanted, and its check."""
    made = []
    for check in ("none", "words"):
        checked = check == "words"
        made.append((check, safeft(folder, upstream, policy(folder, checked=checked))))
        for name in arguments.only if arguments.peers else ():
            start = litellm if name == "litellm" else partial(nemo, engine=name)
            made.append((check, start(folder, upstream, arguments.peers, checked=checked)))
    return made


async def prove(side: Side, tokens: int) -> None:
    """Raises SystemExit unless exactly the checked servers hold back a word, streamed or not."""
    for stream in (False, True):
        for place, word in enumerate(WORDS[:3]):
            # At the beginning, in the middle, and at the end; what is said before is six tokens.
            before = "the garden is open, " * (place * (tokens - 12) // 12)
            prompt = f"Say: {before}{word} is a word."
            (heard,) = await ask_all(side.where, [prompt], tokens, 1, stream=stream)
            if held(heard.text) == (side.check == "words"):
                how = "let a word through" if held(heard.text) else f"held one ({heard.problem})"
                raise SystemExit(f"{side.name}, check {side.check}, stream {stream}: {how}")


def measured(
    all_sides: list[Side], cells: list[Cell], arguments: argparse.Namespace, until: float
) -> tuple[dict[tuple[str, str, Cell], Found], int]:
    """What each side showed, and in how many rounds: as many as there is time for."""
    found: dict[tuple[str, str, Cell], Found] = defaultdict(Found)
    known = None if arguments.upstream else arguments.tokens
    order = random.Random(0)
    for number in range(-1, arguments.rounds):
        for cell in cells:
            count = arguments.streams if cell.stream else arguments.requests
            prompts = [f"Write about topic {number}.{place}." for place in range(count)]
            for side in order.sample(all_sides, len(all_sides)):
                before = cpu_seconds(side.process) if side.process else 0.0
                heard = asyncio.run(
                    ask_all(side.where, prompts, arguments.tokens, cell.at_once, stream=cell.stream)
                )
                if number >= 0:  # the round before the first one warms up
                    one = found[side.name, side.check, cell]
                    one.add(heard, cell, known)
                    one.cpu += (cpu_seconds(side.process) if side.process else 0.0) - before
        print(f"round {number + 1} of {arguments.rounds}", flush=True)
        if time.monotonic() > until:
            return found, max(number + 1, 0)
    return found, arguments.rounds


def row(side: Side, cell: Cell, found: Found, direct: Found) -> dict[str, Any]:
    """What one side showed under one load, in milliseconds."""
    metrics = {}
    for name in found.rounds:
        own, theirs = found.metric(name), direct.metric(name)
        if not sum(map(len, own)) or not sum(map(len, theirs)):
            continue
        metrics[name] = {
            "own": {key: rounded((quantile(own, q),))[0] for key, q in QUANTILES.items()},
            "added": {key: rounded(added(own, theirs, q)) for key, q in QUANTILES.items()},
        }
    return {
        "server": side.name,
        "check": side.check,
        "stream": cell.stream,
        "at_once": cell.at_once,
        "n": found.asked - found.problems.total(),
        "problems": dict(found.problems),
        "cpu_ms_per_request": round(1000 * found.cpu / max(found.asked, 1), 2),
        "ms": metrics,
    }


def difference(ours: Found, theirs: Found, metric: str) -> list[float]:
    """Our median less a peer's, in milliseconds, and its interval: below zero we are faster."""
    return rounded(added(ours.metric(metric), theirs.metric(metric), 0.5))


def answers(
    all_sides: list[Side], cells: list[Cell], found: dict[tuple[str, str, Cell], Found]
) -> list[dict[str, Any]]:
    """The two questions, for each load: is what safeft adds small, and smaller than the peers'?"""
    told: list[dict[str, Any]] = []
    for check in ("none", "words"):
        peers = {one.name for one in all_sides if one.check == check} - {"safeft"}
        for cell in cells:
            ours, direct = found["safeft", check, cell], found[DIRECT, "none", cell]
            for metric in ours.rounds:
                adds = added(ours.metric(metric), direct.metric(metric), 0.5)
                than = {
                    name: difference(ours, found[name, check, cell], metric)
                    for name in sorted(peers - {DIRECT})
                }
                one: dict[str, Any] = {"check": check, **asdict(cell)}
                one |= {"metric": metric, "added_p50": rounded(adds), "less_than": than}
                if than:  # surely so: the whole interval lies below zero
                    one["lower_than_all"] = all(high < 0 for _, _, high in than.values())
                if check == "none" and metric != "per_token":
                    one["at_most_3_ms"] = bool(adds[0] <= LIMIT)
                told.append(one)
    return told


def main() -> None:
    """Start all, measure, stop all, write."""
    arguments = parsed()
    theirs = peer_versions(arguments.peers) if arguments.peers else {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        own = mock(arguments.delay, arguments.rate)
        where = Address(arguments.upstream or own.address.url, arguments.model)
        specs = sides(folder, where, arguments)
        first = [] if arguments.upstream else [own]
        servers = [*first, *(spec for _, spec in specs)]
        with running(servers, folder, arguments.minutes) as processes:
            all_sides = [Side(DIRECT, "none", where, None if arguments.upstream else processes[0])]
            all_sides += [
                Side(spec.name, check, spec.address, process)
                for (check, spec), process in zip(specs, processes[len(first) :], strict=True)
            ]
            if not arguments.upstream:
                for side in all_sides:
                    asyncio.run(prove(side, arguments.tokens))
            cells = [Cell(stream, n) for stream in (False, True) for n in arguments.at_once]
            load, until = os.getloadavg(), time.monotonic() + 60 * arguments.minutes
            found, rounds = measured(all_sides, cells, arguments, until)
    told = answers(all_sides, cells, found)
    written = measured_on(load) | {
        "peers": theirs,
        "settings": {
            key: one for key, one in vars(arguments).items() if key not in ("peers", "output")
        },
        "rounds": rounds,
        "answers": told,
        "rows": [
            row(side, cell, found[side.name, side.check, cell], found[DIRECT, "none", cell])
            for cell in cells
            for side in all_sides
        ],
    }
    arguments.output.write_text(json.dumps(written, indent=1) + "\n")
    for one in told:
        print(json.dumps(one))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--peers",
        metavar="PYTHON",
        type=lambda path: str(Path(path).absolute()),  # not resolved: an environment is a link
        help="the interpreter of the peers' environment, as a path; none: us alone",
    )
    parser.add_argument("--only", nargs="*", choices=PEERS, default=PEERS, help="of the peers")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50, help="whole answers a round")
    parser.add_argument("--streams", type=int, default=8, help="streamed answers a round")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--delay", type=float, default=0.02, help="of the mock, in seconds")
    parser.add_argument("--rate", type=float, default=200.0, help="of the mock, tokens a second")
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins later")
    parser.add_argument("--upstream", metavar="URL", help="a real server in place of the mock")
    parser.add_argument("--model", default="mock", help="as the real server calls it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
