"""`safeft serve` in front of the real `vllm serve`, read by the official client and by LiteLLM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("vllm", reason="make test-engines installs vLLM and runs these")

import openai

from safeft.models import resolve
from safeft.serve.running import bound

# Its table of prices comes with the package; it asks the network for a newer one otherwise.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
litellm = pytest.importorskip("litellm")

MODEL = "testbed"
ASKED: list[Any] = [{"role": "user", "content": "How do I grow tomatoes in a garden?"}]
REFUSAL = "Not this."
PATIENCE = 300.0  # seconds; only a hang takes so long


@contextmanager
def running(*command: object, folder: Path, url: str) -> Iterator[str]:
    """A server in a process of its own, once its /health says so."""
    log = (folder / f"{url.rpartition(':')[2]}.log").open("w")
    # GiB for keys and values; vLLM would claim nearly all of the machine's memory.
    env = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=env)
    try:
        until = time.monotonic() + PATIENCE
        while not healthy(url):
            assert process.poll() is None, Path(log.name).read_text()[-2000:]
            assert time.monotonic() < until, Path(log.name).read_text()[-2000:]
            time.sleep(0.2)  # between two questions to a server that loads a model
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)
        log.close()


def healthy(url: str) -> bool:
    """Whether the server says that it is ready."""
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def free() -> int:
    """A port that nobody listens on."""
    with bound("127.0.0.1", 0) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's own server with the testbed."""
    port, folder = free(), tmp_path_factory.mktemp("vllm")
    # What `vllm serve` runs: the command itself asks for the version of a package called vllm,
    # and that of the CPU's is called otherwise.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", resolve("testbed:aligned").location]
    options = ["--port", port, "--served-model-name", MODEL, "--max-model-len", 1024]
    more = ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager"]
    with running(*command, *options, *more, folder=folder, url=f"http://127.0.0.1:{port}") as url:
        yield url


@pytest.fixture(scope="module")
def guarded(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """safeft in front of it: once letting everything out, once nothing."""
    folder, urls = tmp_path_factory.mktemp("safeft"), {}
    judge = {"judge": "examples", "examples": {"gardening": ["Grow it."]}, "threshold": 0.0}
    with ExitStack() as stack:
        for name, action in (("open", "log"), ("shut", "block")):
            path, port = folder / f"{name}.yaml", free()
            written = {"name": name, "output": judge | {"action": action}, "refusal": REFUSAL}
            path.write_text(json.dumps(written))  # any JSON is YAML
            command = [sys.executable, "-m", "safeft", "serve", "--upstream", upstream]
            where = ["--policy", path, "--port", port]
            server = running(*command, *where, folder=folder, url=f"http://127.0.0.1:{port}")
            urls[name] = stack.enter_context(server)
        yield urls


def client(url: str) -> Any:
    """The official client."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=PATIENCE)


def asked(url: str, **more: Any) -> Any:
    """One chat completion."""
    given = {"model": MODEL, "messages": ASKED, "temperature": 0, "max_tokens": 48} | more
    return client(url).chat.completions.create(**given)


def pieces(chunks: Any) -> tuple[str, list[str]]:
    """What a stream said, and how its choices ended."""
    text, ends = "", []
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            ends += [choice.finish_reason] if choice.finish_reason else []
    return text, ends


def test_what_is_cleared_is_vllms_own_answer(upstream: str, guarded: dict[str, str]) -> None:
    """Whole and as a stream, with log-probabilities and usage."""
    plain = asked(upstream, logprobs=True)
    found = asked(guarded["open"], logprobs=True)
    assert found.choices == plain.choices
    assert found.usage == plain.usage
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(asked(guarded["open"], **options))
    assert pieces(chunks) == (plain.choices[0].message.content, [plain.choices[0].finish_reason])
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens


def test_the_official_client_reads_a_block(guarded: dict[str, str]) -> None:
    """Nothing of the answer is in it, however it is asked for; the moderation object says why."""
    found = asked(guarded["shut"], n=2, temperature=0.7)
    assert [one.finish_reason for one in found.choices] == ["content_filter"] * 2
    assert {one.message.content for one in found.choices} == {REFUSAL}
    assert found.moderation.output is not None
    assert found.usage.completion_tokens > 0
    text, ends = pieces(asked(guarded["shut"], stream=True))
    assert (text, ends) == (REFUSAL, ["content_filter"])


@pytest.mark.parametrize("name", ["open", "shut"])
def test_litellm_reads_it_as_a_client(upstream: str, guarded: dict[str, str], name: str) -> None:
    """Whole and as a stream."""
    given = {"model": f"openai/{MODEL}", "messages": ASKED, "temperature": 0, "max_tokens": 48}
    where = {"api_base": f"{guarded[name]}/v1", "api_key": "none", "num_retries": 0}
    plain = asked(upstream).choices[0]
    wanted = (plain.message.content, plain.finish_reason)
    wanted = wanted if name == "open" else (REFUSAL, "content_filter")
    (whole,) = litellm.completion(**given, **where).choices
    assert (whole.message.content, whole.finish_reason) == wanted
    text, ends = pieces(litellm.completion(**given, **where, stream=True))
    assert (text, ends) == (wanted[0], [wanted[1]])


def test_completions_and_models(upstream: str, guarded: dict[str, str]) -> None:
    """The other routes of the same server."""
    given: dict[str, Any] = {"model": MODEL, "prompt": "The garden", "max_tokens": 16}
    given |= {"temperature": 0}
    plain = client(upstream).completions.create(**given)
    found = client(guarded["open"]).completions.create(**given)
    assert found.choices[0].text == plain.choices[0].text
    shut = client(guarded["shut"]).completions.create(**given)
    assert shut.choices[0].finish_reason == "content_filter"
    assert plain.choices[0].text not in shut.choices[0].text
    assert [one.id for one in client(guarded["open"]).models.list()] == [MODEL]
