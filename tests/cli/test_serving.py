"""`safeft serve` as people run it: a process that is asked, told to reload, and told to end."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from processes import refused

from cli.served import MODEL, WORDS, Held, served
from safeft.serve.running import loopback


def policy(path: Path, name: str, action: str = "block", stage: str = "output") -> Path:
    """Takes `action` on every text, since each reaches its threshold of 0."""
    read = {"judge": "examples", "examples": {"gardening": ["Grow it."]}, "threshold": 0.0}
    whole = {"name": name, "refusal": "No.", stage: read | {"action": action}}
    path.write_text(json.dumps(whole))  # any JSON is YAML
    return path


def text(chunks: list[Any]) -> str:
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


def ending(chunks: list[Any]) -> str | None:
    """The last reason to finish that a stream gave."""
    reasons = [one.choices[0].finish_reason for one in chunks if one.choices]
    return next((one for one in reversed(reasons) if one), None)


def test_a_model_behind_the_default_policy(tmp_path: Path) -> None:
    """Asked by the official client, whole and as a stream; counted, logged, ended in order."""
    log = tmp_path / "decisions.jsonl"
    with served(tmp_path, "--model", MODEL, "--decisions", log) as server:
        with server.client() as client:
            answer = server.ask(client)
            chunks = list(server.ask(client, stream=True, stream_options={"include_usage": True}))
            assert [one.id for one in client.models.list()] == [MODEL]
        assert answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens > 10
        assert text(chunks) == answer.choices[0].message.content
        assert chunks[-1].usage == answer.usage
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'safeft_requests_total{route="/v1/chat/completions",status="200"} 2.0' in metrics
        found = [json.loads(line) for line in log.read_text().splitlines()]
        assert len(found) >= 4 and {one["outcome"] for one in found} == {"allow"}
        assert {one["policy"] for one in found} == {"default"}
        assert "tomato" not in log.read_text()
        assert "tomato" not in server.end().err


def test_a_block_reaches_the_client_whole_and_as_a_stream(tmp_path: Path) -> None:
    """No word of the answer leaves; an end, a reason and the scores do."""
    with (
        served(tmp_path, "--model", MODEL, "--policy", policy(tmp_path / "p.yaml", "p")) as server,
        server.client() as client,
    ):
        answer, chunks = server.ask(client), list(server.ask(client, stream=True))
        (choice,) = answer.choices
        assert (choice.finish_reason, choice.message.content) == ("content_filter", "No.")
        assert (ending(chunks), text(chunks)) == ("content_filter", "No.")
        assert answer.moderation.output.results[0].flagged


def test_a_stream_outlives_a_reload(tmp_path: Path) -> None:
    """What began by the old policy ends by it, and is logged so; the next request is blocked by
    the new one.
    """
    held, path = Held(), policy(tmp_path / "p.yaml", "old", "allow")
    log = tmp_path / "decisions.jsonl"
    with (
        loopback(held.app()) as upstream,
        served(tmp_path, "--upstream", upstream, "--policy", path, "--decisions", log) as server,
        server.client() as client,
    ):
        stream = server.ask(client, messages=[{"role": "user", "content": "hold"}], stream=True)
        assert next(one for one in stream if one.choices[0].delta.content)
        policy(path, "new", "block")
        server.reload()
        blocked = list(server.ask(client, stream=True))
        held.rest.set()
        rest = list(stream)
        assert "'new' is in force" in server.command.files[1].read_text()
        assert (ending(blocked), text(blocked)) == ("content_filter", "No.")
        assert ending(rest) == "stop" and text(rest).endswith(WORDS)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    policies = {(one["outcome"], one["policy"]) for one in found}
    assert policies == {("allow", "old"), ("block", "new")}
    assert found[-1]["policy"] == "old"


def test_a_wrong_new_policy_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    """In one message; when it is mended, the next reload takes it."""
    path = policy(tmp_path / "p.yaml", "old", stage="input")
    with served(tmp_path, "--upstream", "http://127.0.0.1:9", "--policy", path) as server:
        path.write_text(path.read_text().replace('"judge"', '"jugde"'))
        server.reload()
        health = httpx.get(f"{server.url}/health")
        assert (health.status_code, health.json()["policy"]) == (503, "old")
        policy(path, "new", stage="input")
        server.reload()
        assert httpx.get(f"{server.url}/health").json()["policy"] == "new"
        err = server.end().err
    told = [line for line in err.splitlines() if line.startswith("reload: ")]
    assert len(told) == 2
    assert "the former policy stays in force" in told[0] and "jugde" in told[0]
    assert told[1] == "reload: policy 'new' is in force"


def test_an_upstream_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    """It may be starting; until then a request ends in a typed error."""
    path = policy(tmp_path / "p.yaml", "p", "allow", "input")
    with (
        served(tmp_path, "--upstream", "http://127.0.0.1:9", "--policy", path) as server,
        server.client() as client,
    ):
        assert server.said("warning: http://127.0.0.1:9 does not answer yet")
        with pytest.raises(openai.InternalServerError) as failed:
            server.ask(client)
        assert (failed.value.status_code, failed.value.code) == (502, "upstream_failed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_lets_what_is_under_way_come_to_its_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Nobody new is let in, the stream is whole, and the exit code is 0."""
    held, path = Held(), policy(tmp_path / "p.yaml", "p", "allow")
    with (
        loopback(held.app()) as upstream,
        served(tmp_path, "--upstream", upstream, "--policy", path) as server,
        server.client() as client,
    ):
        stream = server.ask(client, messages=[{"role": "user", "content": "hold"}], stream=True)
        assert next(one for one in stream if one.choices[0].delta.content)
        process = server.command.process
        assert process.pid is not None
        os.kill(process.pid, number)
        server.command.until(lambda: not listens(server.url))
        held.rest.set()
        rest = list(stream)
        assert ending(rest) == "stop" and text(rest).endswith(WORDS)
        result = server.command.result()
        assert result.code == 0 and "Traceback" not in result.err


def listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(port))) == 0


def _with_keys() -> None:
    os.environ["OUR_KEYS"] = "alice-key, bob-key"


def test_only_who_has_a_key_gets_in_and_there_is_no_side_door(tmp_path: Path) -> None:
    """Neither at the guardrail nor at the model behind it, which another process could find."""
    path = policy(tmp_path / "p.yaml", "p", "allow", "input")
    options = ("--model", MODEL, "--policy", path, "--keys-variable", "OUR_KEYS")
    with served(tmp_path, *options, before=_with_keys) as server:
        for key in ("alice-key", "bob-key"):
            assert server.ask(server.client(key), max_tokens=2).choices[0].message.content
        with pytest.raises(openai.AuthenticationError):
            server.ask(server.client("alice-key, bob-key"))
        process = psutil.Process(server.command.process.pid)
        ports = {one.laddr.port for one in process.net_connections() if one.status == "LISTEN"}
        assert len(ports) == 2
        for port in ports:
            answer = httpx.get(f"http://127.0.0.1:{port}/v1/models")
            assert answer.status_code == 401
        said = server.end()
        assert "alice-key" not in said.out + said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --upstream, a server, or --model"),
        (["--upstream", "http://h", "--model", MODEL], "give --upstream, a server, or --model"),
        (["--upstream", "http://h", "--adapter", "a"], "--adapter: belongs to --model"),
        (["--model", MODEL, "--upstream-key-variable", "K"], "belongs to --upstream"),
        (["--model", MODEL, "--log-text"], "--log-text: name the log with --decisions"),
        (["--model", MODEL, "--policy", "nowhere"], "no file or shipped name 'nowhere'"),
        (["--model", MODEL, "--decisions", "no/where/log"], "decisions: no/where/log cannot be"),
        (["--model", MODEL, "--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--upstream", "ftp://h"], "not the URL of a server"),
        (["--upstream", "http://h", "--set", "max_batsh=1"], "max_batsh"),
        (["--upstream", "http://h", "--set", "keys=[a]"], "keys come from the environment"),
        (["--upstream", "http://h", "--keys-variable", "NO_KEYS"], "NO_KEYS holds no key"),
        (["--upstream", "http://h", "--upstream-key-variable", "K"], "needs keys"),
        (["--model", "testbed:algined"], "no testbed model 'algined'"),
    ],
)
def test_every_mistake_at_the_start_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    """Exit code 2, before anything is served."""
    monkeypatch.chdir(tmp_path)
    own = ["--policy", policy(tmp_path / "p.yaml", "p")] if "--policy" not in arguments else []
    assert words in refused("serve", "--port", 0, *own, *arguments)


def test_a_port_that_is_taken_is_one_message(tmp_path: Path) -> None:
    """With what to do."""
    path = policy(tmp_path / "p.yaml", "p")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refused("serve", "--model", MODEL, "--policy", path, "--port", port)
    assert f"port {port}: Address already in use; name another port with --port" in said


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings them."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    said = refused("serve", "--model", MODEL)
    assert "uvicorn is not installed; pip install 'safeft[serve]'" in said


def test_a_fault_of_the_settings_names_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is wrong with them."""
    monkeypatch.setenv("OUR_KEYS", "alice-key")
    path = policy(tmp_path / "p.yaml", "p")
    options = ["--policy", path, "--keys-variable", "OUR_KEYS", "--set", "max_batch=0"]
    said = refused("serve", "--port", 0, "--upstream", "http://h", *options)
    assert "max_batch" in said and "alice-key" not in said
