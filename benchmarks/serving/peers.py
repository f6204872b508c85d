"""Starts the mock, safeft, LiteLLM's proxy and NeMo Guardrails' server, and stops them again.

Each runs in one process on the loopback, with its defaults but for what is written here. A peer's
environment is that of the interpreter that is given; see README.md for what it needs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from client import Address
from words import PATTERN, WINDOW

from safeft.runs import git_revision, versions

HERE = Path(__file__).resolve().parent
START = 900
"""Seconds for all servers to start."""
SPARE = 600
"""Seconds that a server lives longer than it is needed, should nobody be left to end it."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How a server is started: its name, its port, its command and what its environment adds."""

    name: str
    port: int
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    model: str = "mock"

    @property
    def address(self) -> Address:
        """Where it is asked."""
        return Address(f"http://127.0.0.1:{self.port}/v1", self.model)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def mock(delay: float, rate: float) -> Spec:
    """The upstream of known latency: seconds, and tokens a second."""
    port = free_port()
    asked = ["--port", str(port), "--delay", str(delay), "--rate", str(rate)]
    return Spec("upstream", port, [sys.executable, str(HERE / "upstream.py"), *asked])


def safeft(folder: Path, upstream: Address, policy: str, name: str = "safeft") -> Spec:
    """`safeft serve` in front of it, by the policy of that name or path."""
    port = free_port()
    command = [sys.executable, "-m", "safeft", "serve", "--upstream", upstream.url]
    command += ["--policy", policy, "--port", str(port)]
    return Spec(name, port, command, {"PYTHONPATH": plugins(folder)}, upstream.model)


def words_policy(folder: Path, *, checked: bool) -> str:
    """The path of a policy that searches answers for words; or what an answer does not have.

    A policy reads at least one stage. Without the check that is the reasoning, of which the
    answers here have none, so that no judge is ever asked.
    """
    stage = {"judge": "word-list", "window": WINDOW, "first_window": WINDOW, "overlap": WINDOW}
    policy = {
        "name": "words",
        "output" if checked else "reasoning": stage,
        "refusal": "I can't help with that.",
        "decode": False,  # the peers read a text as it is
    }
    path = folder / f"policy-{'words' if checked else 'none'}.yaml"
    path.write_text(json.dumps(policy))  # JSON is YAML
    return str(path)


def plugins(folder: Path) -> str:
    """A folder with what runs inside the servers, and the entry point by which safeft finds its
    judge. Nothing else of this folder is on their paths.
    """
    place = folder / "plugins"
    described = place / "serving_checks-0.dist-info"
    described.mkdir(parents=True, exist_ok=True)
    for path in (HERE / "words.py", *HERE.glob("with_*.py")):
        shutil.copy(path, place)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: serving-checks\nVersion: 0\n")
    points = "[safeft.judges]\nword-list = with_safeft:WordJudge\n"
    (described / "entry_points.txt").write_text(points)
    return str(place)


def litellm(folder: Path, upstream: Address, python: str, *, checked: bool) -> Spec:
    """LiteLLM's proxy: the application that its command line runs, by the same server."""
    asked = {"model": f"openai/{upstream.model}", "api_base": upstream.url, "api_key": "none"}
    config: dict[str, Any] = {
        "model_list": [{"model_name": upstream.model, "litellm_params": asked}]
    }
    if checked:
        how = {"guardrail": "with_litellm.WordGuardrail", "mode": "post_call", "default_on": True}
        config["guardrails"] = [{"guardrail_name": "words", "litellm_params": how}]
    path = folder / f"litellm-{'words' if checked else 'none'}.yaml"
    path.write_text(json.dumps(config))
    port = free_port()
    command = [python, "-m", "uvicorn", "litellm.proxy.proxy_server:app", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    environment = {
        "CONFIG_FILE_PATH": str(path),
        "PYTHONPATH": plugins(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network for prices
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # nobody else has keys
        "LITELLM_LOG": "ERROR",
    }
    return Spec("litellm", port, command, environment, upstream.model)


def nemo(
    folder: Path, upstream: Address, python: str, *, checked: bool, engine: str = "nemo"
) -> Spec:
    """NeMo Guardrails' server: its own rail for regular expressions; `nemo-iorails` is the newer
    of its two engines, which it does not take by default.
    """
    place = folder / f"{engine}-{'words' if checked else 'none'}" / "only"
    place.mkdir(parents=True)
    asked = {"base_url": upstream.url, "api_key": "none"}
    model = {"type": "main", "engine": "openai", "model": upstream.model, "parameters": asked}
    config: dict[str, Any] = {"models": [model], "passthrough": True}
    if checked:
        windows = {"enabled": True, "chunk_size": WINDOW, "context_size": WINDOW}
        config["rails"] = {
            "output": {
                "flows": ["regex check output"],
                "streaming": windows | {"stream_first": False},
            },
            "config": {"regex_detection": {"output": {"patterns": [PATTERN]}}},
        }
    (place / "config.yml").write_text(json.dumps(config))
    port = free_port()
    command = [python, "-m", "with_nemo", str(place.parent), str(port)]
    environment = {
        "PYTHONPATH": plugins(folder),
        "NEMO_GUARDRAILS_NO_USAGE_STATS": "1",
        "NEMO_GUARDRAILS_IORAILS_ENGINE": str(int(engine == "nemo-iorails")),
        "OPENAI_API_KEY": "none",
    }
    return Spec(engine, port, command, environment, upstream.model)


@contextmanager
def running(
    specs: Iterable[Spec], folder: Path, minutes: float
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts them all for so many minutes, and ends them all, whatever happens.

    Raises SystemExit when one does not start.
    """
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started: list[subprocess.Popen[bytes]] = []
    specs = list(specs)
    try:
        for spec in specs:
            started.append(_started(spec, folder, START + 60 * minutes + SPARE))
        until = time.monotonic() + START
        for spec, process in zip(specs, started, strict=True):
            _await(spec, process, folder, until)
        yield started
    finally:
        for process in started:
            _signal(process, signal.SIGTERM)
        for process in started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait(5)
        signal.signal(signal.SIGTERM, former)


def _started(spec: Spec, folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    environment = os.environ | {"NO_PROXY": "127.0.0.1"} | spec.environment
    if "PYTHONPATH" in spec.environment and "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
    with (folder / f"{spec.name}-{spec.port}.log").open("wb") as log:
        return subprocess.Popen(
            ["timeout", "-k", "5", str(seconds), *spec.command],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _await(spec: Spec, process: subprocess.Popen[bytes], folder: Path, until: float) -> None:
    """Returns once it answers a request."""
    asked = {"role": "user", "content": "Hello."}
    body = {"model": spec.model, "messages": [asked], "max_tokens": 2}
    while time.monotonic() < until and process.poll() is None:
        try:
            url = f"{spec.address.url}/chat/completions"
            if httpx.post(url, json=body, timeout=30, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass  # not yet
        time.sleep(0.5)  # between two attempts: there is nothing else to wait for
    log = (folder / f"{spec.name}-{spec.port}.log").read_text(errors="replace")
    raise SystemExit(f"{spec.name} did not start; the end of its log:\n{log[-2000:]}")


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(process.pid, number)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """What a server has used, with what it started."""
    top = psutil.Process(process.pid)
    times = [one.cpu_times() for one in [top, *top.children(recursive=True)]]
    return float(sum(one.user + one.system for one in times))


def measured_on(load: tuple[float, float, float]) -> dict[str, Any]:
    """What the figures depend on; `load` is the machine's before they were taken."""
    machine = {"cores": len(os.sched_getaffinity(0)), "load_before": load}
    machine["load_after"] = os.getloadavg()
    return {"versions": versions(), "revision": git_revision(), "machine": machine}


def peer_versions(python: str) -> dict[str, str]:
    """Of what the peers run on; `none` for what their environment lacks."""
    names = ["litellm", "nemoguardrails", "fastapi", "starlette", "uvicorn", "uvloop", "httptools"]
    code = (
        "import json, platform, sys; from importlib.metadata import distributions\n"
        "have = {one.name.lower(): one.version for one in distributions()}\n"
        "found = {name: have.get(name, 'none') for name in sys.argv[1:]}\n"
        "print(json.dumps({'python': platform.python_version()} | found))"
    )
    run = subprocess.run([python, "-c", code, *names], check=True, capture_output=True)
    found: dict[str, str] = json.loads(run.stdout)
    return found
