"""A probe before the local model: it reads along with what is served, and a reload gets on too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from guarding.probing import probing, saved

from safeft.errors import ConfigError
from safeft.guarding import probe_guard
from safeft.guarding.probe import Probe
from safeft.models.files import weights_of
from safeft.serve.generating import Writer
from safeft.serve.local import app_over
from safeft.serve.running import loopback
from safeft.serve.serving import Serving
from safeft.serve.settings import Settings

MODEL = "testbed:aligned"
QUESTION = "How do I grow tomatoes in a garden?"


@pytest.fixture
def writer(aligned: tuple[Any, Any]) -> Writer:
    """Over the testbed's aligned model."""
    return Writer(*aligned, "aligned")


@pytest.fixture
def probe() -> Probe:
    """A random probe of its states."""
    return probing(3, hidden_size=256, layer=2, revision=weights_of(MODEL))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were read by force, call by call."""
    counts: list[int] = []
    token_logits = probe_guard.token_logits

    def counted(model: Any, probe: Probe, texts: Any) -> Any:
        counts.append(len(texts))
        return token_logits(model, probe, texts)

    monkeypatch.setattr(probe_guard, "token_logits", counted)
    return counts


def written(tmp_path: Path, probe: Probe, threshold: float = 1.0) -> Path:
    """A policy that names the card of a probe."""
    stage = {"judge": str(saved(tmp_path, probe)), "threshold": threshold, "first_window": 8}
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps({"name": "p", "refusal": "No.", "output": stage | {"window": 8}}))
    return path


async def asked(app: Any, **more: Any) -> dict[str, Any]:
    """One chat completion."""
    body = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, **more}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        found = await client.post("/v1/chat/completions", json=body, timeout=300)
    made: dict[str, Any] = found.json()
    return made


def test_what_is_served_was_read_while_it_was_written(
    tmp_path: Path, writer: Writer, probe: Probe, read: list[int]
) -> None:
    """No window is read a second time; the policy decides by those scores, before and after a
    reload."""
    policy, log = written(tmp_path, probe), tmp_path / "log.jsonl"
    serving = Serving(str(policy), decisions=log, writer=lambda: writer)
    (first,) = writer.probes

    async def both(url: str) -> list[dict[str, Any]]:
        app = serving.before(url, Settings())
        read.clear()
        answer = await asked(app)
        scores = [json.loads(one)["score"] for one in log.read_text().splitlines()]
        assert len(scores) > 3 and read == []
        written(tmp_path, probe, (min(scores) + max(scores)) / 2)
        assert serving.reload() == "policy 'p' is in force"
        assert writer.probes != [first]
        read.clear()
        return [answer, await asked(app)]

    with loopback(app_over(writer)) as url:
        answers = asyncio.run(both(url))
    assert [one["choices"][0]["finish_reason"] for one in answers] == ["stop", "content_filter"]
    assert read == []


def test_a_policy_that_cannot_be_read_keeps_the_probe_on_its_ride(
    tmp_path: Path, writer: Writer, probe: Probe
) -> None:
    """The judge that decides is the one that reads along."""
    policy = written(tmp_path, probe)
    serving = Serving(str(policy), writer=lambda: writer)
    before = writer.probes
    saved(tmp_path, probing())
    assert "states of 64 numbers" in serving.reload()
    assert writer.probes is before and len(before) == 1


def test_a_probe_of_another_model_is_refused(tmp_path: Path, writer: Writer) -> None:
    """Before anything is served."""
    policy = written(tmp_path, probing())
    with pytest.raises(ConfigError, match=r"states of 64 numbers.*have 256"):
        Serving(str(policy), writer=lambda: writer)


def test_a_wrong_policy_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    """Which may take long."""
    path = tmp_path / "policy.yaml"
    path.write_text("name: p\nrefusal: No.\noutput: {judge: nobody}\n")

    def never() -> Writer:
        raise AssertionError

    with pytest.raises(ConfigError, match="nobody"):
        Serving(str(path), writer=never)
