"""Many streams at once through `safeft serve`, its judge included, beside the same ones directly.

    python benchmarks/serving/streams.py --output FILE [--policy default]

The upstream is the mock, which writes a steady number of tokens a second on each stream. In each
round the same streams are asked for directly and through the guard, first the one, then the other.
A guard that checks before it releases holds the first words until their window is read; it must
not fall behind from there. README.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from client import Address, Heard, ask, session, sound
from peers import cpu_seconds, measured_on, mock, running, safeft
from prometheus_client.parser import text_string_to_metric_families
from quantities import added, quantile, rounded
from upstream import answer

from safeft.guarding.policy import load_policy

DIRECT, GUARDED = "direct", "guarded"
ALLOWED = 0.05
"""How much longer a token may take."""
METRICS = ("first", "per_token", "whole_per_token", "late")


@dataclass
class Shown:
    """What one side showed. Seconds; one list a round."""

    where: Address
    process: subprocess.Popen[bytes]
    rounds: dict[str, list[list[float]]] = field(
        default_factory=lambda: {one: [] for one in METRICS}
    )
    problems: Counter[str] = field(default_factory=Counter)
    n: int = 0
    seconds: float = 0.0
    server_cpu: float = 0.0
    upstream_cpu: float = 0.0
    client_cpu: float = 0.0

    def add(self, heard: Sequence[Heard], tokens: int, delay: float, rate: float) -> None:
        """A round. Streams that ended otherwise than they should are counted and left out."""
        good = sound(heard, self.problems, tokens)
        self.n += len(good)
        self.rounds["first"].append([one.first for one in good])
        self.rounds["per_token"].append([one.per_token for one in good])
        self.rounds["whole_per_token"].append([one.last / tokens for one in good])
        self.rounds["late"].append([late(one, tokens, delay, rate) for one in good])

    def arrays(self, metric: str) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """One array a round."""
        return [np.array(one) for one in self.rounds[metric]]


def late(heard: Heard, tokens: int, delay: float, rate: float) -> float:
    """Seconds that a token comes after the upstream was to write it, as a mean over tokens."""
    ends_N = np.cumsum([len(piece) for piece in answer(heard.prompt, tokens)])
    times_A, lengths_A = zip(*heard.arrivals, strict=True)
    came_N = np.array(times_A)[np.searchsorted(lengths_A, ends_N)]
    return float(np.mean(came_N - delay - np.arange(tokens) / rate))


async def burst(where: Address, prompts: list[str], tokens: int, spread: float) -> list[Heard]:
    """All streams at once; they begin within `spread` seconds, as they would not all together."""
    async with session() as asking:

        async def one(place: int) -> Heard:
            await asyncio.sleep(spread * place / len(prompts))
            return await ask(asking, where, prompts[place], tokens, stream=True)

        return list(await asyncio.gather(*(one(place) for place in range(len(prompts)))))


def measure(
    shown: Shown, upstream: subprocess.Popen[bytes], number: int, arguments: argparse.Namespace
) -> None:
    """One round of one side."""
    prompts = [f"Write about topic {number}.{place}." for place in range(arguments.streams)]
    server, behind = cpu_seconds(shown.process), cpu_seconds(upstream)
    own, began = time.process_time(), time.perf_counter()
    heard = asyncio.run(burst(shown.where, prompts, arguments.tokens, arguments.spread))
    shown.seconds += time.perf_counter() - began
    shown.client_cpu += time.process_time() - own
    shown.server_cpu += cpu_seconds(shown.process) - server
    shown.upstream_cpu += cpu_seconds(upstream) - behind
    shown.add(heard, arguments.tokens, arguments.delay, arguments.rate)


def counted(where: Address) -> dict[str, float]:
    """What the guard has counted: decisions by outcome, and checks by how long they took."""
    text = httpx.get(where.url.removesuffix("/v1") + "/metrics", trust_env=False).text
    found: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name == "safeft_guard_decisions_total":
                found[f"decisions {one.labels['outcome']}"] += one.value
            elif one.name.startswith("safeft_guard_seconds_") and "created" not in one.name:
                kind = one.name.removeprefix("safeft_guard_seconds_")
                found[f"{kind} {one.labels.get('le', '')}".strip()] += one.value
    return dict(found)


def checks(before: dict[str, float], after: dict[str, float], seconds: float) -> dict[str, Any]:
    """How many checks, and how long one took from the text's coming to its decision."""
    more = {key: one - before.get(key, 0) for key, one in after.items()}
    n = more.get("count", 0)
    buckets = [(key.split()[1], one) for key, one in more.items() if key.startswith("bucket")]
    within = sorted((float(limit), one) for limit, one in buckets)
    p95 = next((limit for limit, one in within if n and one >= 0.95 * n), math.inf)
    return {
        "n": int(n),
        "per_second": round(n / seconds, 1) if seconds else 0.0,
        "mean_ms": round(1000 * more.get("sum", 0) / n, 1) if n else None,
        "p95_at_most_ms": 1000 * p95 if math.isfinite(p95) else None,
        "outcomes": {
            key.split()[1]: int(one) for key, one in more.items() if key.startswith("decisions")
        },
    }


def side(shown: Shown) -> dict[str, Any]:
    """One side's figures: milliseconds, and cores that were busy meanwhile."""
    return {
        "n": shown.n,
        "problems": dict(shown.problems),
        "seconds": round(shown.seconds, 1),
        "cpu_seconds": round(shown.server_cpu, 2),
        "cores": round(shown.server_cpu / shown.seconds, 2),
        "upstream_cores": round(shown.upstream_cpu / shown.seconds, 2),
        "client_cores": round(shown.client_cpu / shown.seconds, 2),
        "ms": {
            name: {
                key: round(1000 * quantile(shown.arrays(name), q), 2)
                for key, q in {"p50": 0.5, "p95": 0.95, "p99": 0.99}.items()
            }
            for name in METRICS
        },
    }


def answers(
    direct: Shown, guarded: Shown, arguments: argparse.Namespace, windows: tuple[int, int]
) -> dict[str, Any]:
    """The two questions: added time to the first token, and added time per token."""
    told: dict[str, Any] = {}
    for name, tokens in zip(("first_window", "window"), windows, strict=True):
        told[f"{name}_ms"] = round(1000 * tokens / arguments.rate, 1)
    for key, q in {"p50": 0.5, "p95": 0.95}.items():
        adds = added(guarded.arrays("first"), direct.arrays("first"), q)
        told[f"added_first_{key}_ms"] = rounded(adds)
        told[f"added_first_{key}_at_most_one_window"] = bool(adds[0] <= windows[1] / arguments.rate)
    for name in ("per_token", "whole_per_token"):
        adds = added(guarded.arrays(name), direct.arrays(name), 0.5)
        share = 1 / quantile(direct.arrays(name), 0.5)
        told[f"added_{name}_share"] = rounded(adds, share, 4)
        told[f"added_{name}_at_most_5_percent"] = bool(adds[0] * share <= ALLOWED)
    told["added_late_p50_ms"] = rounded(added(guarded.arrays("late"), direct.arrays("late"), 0.5))
    return told


def main() -> None:
    """Start both servers, measure, stop them, write."""
    arguments = parsed()
    policy = load_policy(arguments.policy)
    if policy.output is None:
        raise SystemExit(f"policy {policy.name} does not read answers")
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = Path(arguments.policy)
        behind = mock(arguments.delay, arguments.rate)
        guard = safeft(
            folder, behind.address, str(path.resolve()) if path.is_file() else arguments.policy
        )
        with running([behind, guard], folder, arguments.minutes) as (upstream, process):
            direct, guarded = Shown(behind.address, upstream), Shown(guard.address, process)
            for shown in (direct, guarded):  # what is loaded and compiled at first is not measured
                asyncio.run(burst(shown.where, ["Warm up."] * 4, arguments.tokens, 0))
            load, before = os.getloadavg(), counted(guard.address)
            rounds, until = 0, time.monotonic() + 60 * arguments.minutes
            while rounds < arguments.rounds and time.monotonic() < until:
                for shown in (direct, guarded) if rounds % 2 else (guarded, direct):
                    measure(shown, upstream, rounds, arguments)
                rounds += 1
                print(f"round {rounds} of {arguments.rounds}", flush=True)
            found = checks(before, counted(guard.address), guarded.seconds)
    windows = (policy.output.first_window, policy.output.window)
    written = measured_on(load) | {
        "settings": {key: one for key, one in vars(arguments).items() if key != "output"},
        "policy": policy.name,
        "rounds": rounds,
        "answers": answers(direct, guarded, arguments, windows),
        "checks": found,
        DIRECT: side(direct),
        GUARDED: side(guarded),
    }
    arguments.output.write_text(json.dumps(written, indent=1) + "\n")
    print(json.dumps({key: written[key] for key in ("answers", "checks", DIRECT, GUARDED)}))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--policy", default="default", help="a shipped name or a YAML")
    parser.add_argument("--streams", type=int, default=32, help="at once")
    parser.add_argument("--rate", type=float, default=30.0, help="tokens a second of each")
    parser.add_argument("--tokens", type=int, default=180, help="of each")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds to the first token")
    parser.add_argument("--spread", type=float, default=1.0, help="seconds in which they begin")
    parser.add_argument("--minutes", type=float, default=15.0, help="no round begins later")
    return parser.parse_args()


if __name__ == "__main__":
    main()
