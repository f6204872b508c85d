"""The parts together: who is told what, and what a reload changes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from safeft.errors import ConfigError, ModelError, SafeftError, StoredError
from safeft.guarding.checker import Checker
from safeft.guarding.policy import Policy, Stage
from safeft.records import Label, Prompt, Response, Verdict
from safeft.serve.serving import LentSettings, Serving, awake
from safeft.serve.settings import Settings

UPSTREAM = "http://127.0.0.1:9/v1"
ASKED = {"messages": [{"role": "user", "content": "How do I grow tomatoes?"}]}


def write(path: Path, name: str, action: str = "block", **more: Any) -> Path:
    """A policy that takes `action` on every request, since each reaches its threshold of 0."""
    stage = {"judge": "examples", "examples": {"gardening": ["Grow it."]}, "threshold": 0.0}
    policy = {"name": name, "refusal": "No.", "input": stage | {"action": action} | more}
    path.write_text(json.dumps(policy))  # any JSON is YAML
    return path


class Client:
    """Asks the guarded application of a serving, all in one event loop."""

    def __init__(self, serving: Serving) -> None:
        self._app = serving.before(UPSTREAM, Settings())
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app), base_url="http://x"
        )

    async def ask(self) -> httpx.Response:
        """One chat completion; the upstream is never there."""
        return await self._client.post("/v1/chat/completions", json=ASKED)

    async def metrics(self) -> str:
        """All that was counted."""
        return (await self._client.get("/metrics")).text


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_one_request_is_seen_by_everyone(tmp_path: Path) -> None:
    """Counted, and written down, without its text."""
    policy, log = write(tmp_path / "p.yaml", "p"), tmp_path / "log.jsonl"

    async def asked() -> str:
        client = Client(Serving(str(policy), decisions=log))
        blocked = await client.ask()
        assert blocked.json()["choices"][0]["finish_reason"] == "content_filter"
        return await client.metrics()

    metrics = asyncio.run(asked())
    series = 'safeft_guard_decisions_total{category="gardening",outcome="block",stage="input"} 1.0'
    assert series in metrics
    (line,) = lines(log)
    assert (line["policy"], line["outcome"], line["stage"]) == ("p", "block", "input")
    assert "tomatoes" not in log.read_text() + metrics


def test_the_text_is_logged_when_asked_for(tmp_path: Path) -> None:
    """The request that was decided about."""
    policy, log = write(tmp_path / "p.yaml", "p"), tmp_path / "log.jsonl"
    asyncio.run(Client(Serving(str(policy), decisions=log, log_text=True)).ask())
    assert lines(log)[0]["text"] == "How do I grow tomatoes?"


def test_a_reload_changes_what_is_decided_and_where_it_is_written(tmp_path: Path) -> None:
    """From the next request on: another action, category and name, in a new file."""
    policy, log = write(tmp_path / "p.yaml", "p"), tmp_path / "log.jsonl"

    async def asked() -> tuple[list[int], str]:
        serving = Serving(str(policy), decisions=log)
        client = Client(serving)
        first = await client.ask()
        write(policy, "q", "allow", examples={"farming": ["Sow it."]})
        log.rename(tmp_path / "old.jsonl")
        assert serving.reload() == "policy 'q' is in force"
        second = await client.ask()
        return [first.status_code, second.status_code], await client.metrics()

    found, metrics = asyncio.run(asked())
    assert found == [200, 502]  # blocked, and then let through to an upstream that is not there
    assert [one["policy"] for one in lines(tmp_path / "old.jsonl")] == ["p"]
    assert [(one["policy"], one["category"]) for one in lines(log)] == [("q", "farming")]
    series = 'safeft_guard_decisions_total{category="farming",outcome="allow",stage="input"} 1.0'
    assert series in metrics


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: q\nrefusal: No.\n", "a policy needs at least one stage"),
        ("name: q\ninput: {judge: nobody}\nrefusal: No.\n", "nobody"),
        ("- not\n- a policy\n", "p.yaml"),
        (None, "no file or shipped name"),
    ],
)
def test_a_wrong_new_policy_changes_nothing(tmp_path: Path, text: str | None, said: str) -> None:
    """It is refused in one message, and the old one goes on."""
    policy = write(tmp_path / "p.yaml", "p")

    async def asked() -> str:
        serving = Serving(str(policy))
        client = Client(serving)
        policy.unlink() if text is None else policy.write_text(text)
        message = serving.reload()
        blocked = await client.ask()
        assert blocked.headers["x-safeft-policy"] == "p"
        assert blocked.json()["choices"][0]["finish_reason"] == "content_filter"
        return message

    message = asyncio.run(asked())
    assert message.startswith("the former policy stays in force: ") and said in message


def test_a_log_that_cannot_be_opened_again_is_written_on(tmp_path: Path) -> None:
    """And the policy is read again all the same."""
    policy, folder = write(tmp_path / "p.yaml", "p"), tmp_path / "logs"
    folder.mkdir()

    async def asked() -> str:
        serving = Serving(str(policy), decisions=folder / "log.jsonl")
        client = Client(serving)
        folder.rename(tmp_path / "moved")
        message = serving.reload()
        await client.ask()
        return message

    assert asyncio.run(asked()) == (
        "the former log of decisions is written on: No such file or directory; "
        "policy 'p' is in force"
    )
    assert len(lines(tmp_path / "moved/log.jsonl")) == 1


def test_a_policy_that_cannot_be_read_is_refused_at_the_start(tmp_path: Path) -> None:
    """Before anything is served."""
    with pytest.raises(ConfigError, match="no file or shipped name"):
        Serving(str(tmp_path / "nowhere.yaml"))


def test_the_local_model_has_a_key_of_its_own() -> None:
    """Not from the environment, and hidden wherever the settings are shown."""
    settings = LentSettings(lent=SecretStr("once"))
    assert settings.upstream_key == "once" and "once" not in repr(settings)


class Judge:
    """Counts its calls, or fails."""

    name, measures, categories = "j", "harm", ("harm",)

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, 0

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        self.asked += 1
        if self.error:
            raise self.error
        return [Verdict(one.prompt.id, Label.REFUSED, "j", {"harm": 0.0}) for one in responses]

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        return self([Response(one, "") for one in prompts])


def checked(first: Judge, second: Judge) -> Checker:
    """Both stages, the second judge behind the first one of the output."""
    policy = Policy(name="p", refusal="No.", input=Stage(), output=Stage())
    return Checker(policy, {"input": first, "output": first}, {"output": second})


def test_every_judge_has_answered_before_the_first_request() -> None:
    """At each stage that it reads, and those that only see what is escalated."""
    first, second = Judge(), Judge()
    awake(checked(first, second)).close()
    assert (first.asked, second.asked) == (2, 1)


@pytest.mark.parametrize("kind", [ModelError, StoredError])
def test_a_judge_that_never_will_answer_is_refused(kind: type[SafeftError]) -> None:
    """Its weights are not there, or damaged: waiting helps nobody."""
    with pytest.raises(kind, match="no weights"):
        awake(checked(Judge(), Judge(kind("no weights"))))


def test_a_judge_that_may_answer_later_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Its endpoint may be starting: until then the policy's on_error decides."""
    awake(checked(Judge(), Judge(SafeftError("connection refused\nat length")))).close()
    assert [one.getMessage() for one in caplog.records] == [
        "j does not answer at the output yet: SafeftError: connection refused"
    ]
    assert caplog.records[0].levelno == logging.WARNING
