"""Laws of `safeft train --provider`: the whole command, killed, interrupted and cancelled."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosted import Desk, Provider, providing, status
from processes import Command, call, done, refused

from safeft.runs import read_json, read_lines

pytest.importorskip("openai")
NAME = "ft:gpt-4o-mini-2024-07-18:org::0"


@pytest.fixture
def server() -> Iterator[Provider]:
    """A server with OpenAI's files and jobs."""
    with providing() as made:
        yield made


@pytest.fixture
def words(server: Provider, tmp_path: Path) -> list[object]:
    """The command, which looks after its job a hundred times a second."""
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"Plant {n}?", "completion": f"Water it {n} times."} for n in range(12)]
    rows.write_text("".join(json.dumps(one) + "\n" for one in lines))
    asked = ["train", "baseline", "--provider", "openai", "--model", NAME[3:25], "--data", rows]
    return [*asked, "--engine", server.url, "--every", 0.01, "--output", tmp_path / "run"]


def test_the_whole_command(words: list[object], server: Provider, tmp_path: Path) -> None:
    """It says what is sent where, follows, names the model, and prints the next command."""
    more = ["--job-set", "hyperparameters.n_epochs=2", "--job-set", "price=3"]
    said = done(*words, "--seed", 5, *more).out
    assert "× 2 epochs =" in said
    assert f"is sent to {server.url}" in said
    assert "now running" in said
    assert f"fine-tuned model: {NAME}\n" in said
    assert f"next: safeft eval {NAME} --engine {server.url} --output {tmp_path}/run-eval" in said
    assert server.requests[0]["seed"] == 5
    assert read_json(tmp_path / "run/manifest.json")["config"]["seed"] == 5
    assert f"fine-tuned model: {NAME}\n" in done(*words, "--seed", 5, *more).out
    assert len(server.jobs) == 1


def test_the_next_command_evaluates_what_was_tuned(
    words: list[object], server: Provider, tmp_path: Path
) -> None:
    """As printed, with a few prompts."""
    (line,) = [one for one in done(*words).out.splitlines() if one.startswith("next: safeft ")]
    few = ["--per-category", 1, "--judge", "keyword", "--workers", 1]
    done(*line.removeprefix("next: safeft ").split(), *few)
    assert {body["model"] for body in server.bodies} == {NAME}
    assert (tmp_path / "run-eval/report.html").is_file()


def killed(words: list[object], server: Provider, folder: Path, when: object) -> None:
    """The command, killed with -9 once `when` holds."""
    command = Command(words, folder)
    command.until(when)  # type: ignore[arg-type]
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL


@pytest.mark.parametrize("call", ["POST files", "POST jobs"])
@pytest.mark.parametrize("served", [False, True])
def test_killed_between_a_call_and_its_answer(
    words: list[object], server: Provider, tmp_path: Path, call: str, served: bool
) -> None:
    """Whether the provider has made it or not, there is one upload and one job in the end."""
    if served:
        server.lost = {call}
    else:

        def hang(_: Desk, found: str, attempt: int) -> bool:
            return found == call and attempt == 1 and server.release.wait()

        server.broken = hang
    made = {"POST files": server.files, "POST jobs": server.jobs}[call]
    killed(words, server, tmp_path / "log", lambda: made if served else server.calls[call])
    done(*words)
    assert server.calls[call] == 1 + (not served)
    assert len(server.files) == len(server.jobs) == 1


def test_killed_between_the_upload_and_the_job(
    words: list[object], server: Provider, tmp_path: Path
) -> None:
    """The file is on the server and in the ledger; the job is started over it."""
    server.broken = lambda desk, call, n: call == "POST jobs" and n == 1 and server.release.wait()
    ledger = tmp_path / "run/provider.json"
    killed(words, server, tmp_path / "log", lambda: server.calls["POST jobs"])
    assert read_json(ledger)["made"] == {"file": "file-0"}
    done(*words)
    assert server.calls["POST files"] == 1
    assert read_json(ledger)["made"] == {"file": "file-0", "job": "ftjob-0"}


def test_killed_while_following(words: list[object], server: Provider, tmp_path: Path) -> None:
    """The job goes on; the same command follows it, and keeps each event once."""
    begun = tmp_path / "run/events.jsonl.partial"
    server.broken = lambda *_: setattr(server, "held", server.calls["GET jobs/*"] > 2) or False
    seen = lambda: begun.is_file() and begun.read_text().count("\n") >= 4  # noqa: E731
    killed(words, server, tmp_path / "log", seen)
    server.broken = lambda *_: False
    server.held = False
    said = done(*words).out
    kept = [one["id"] for one in read_lines(tmp_path / "run/events.jsonl")]
    assert kept == [f"ftevent-{n}" for n in range(8)]
    assert "is sent to" not in said
    assert server.calls["POST files"] == server.calls["POST jobs"] == 1


def test_ctrl_c_leaves_the_job_and_says_how_to_stop_it(
    words: list[object], server: Provider, tmp_path: Path
) -> None:
    """What runs at the provider is paid for: it is not stopped by an accident."""
    server.held = True
    command = Command(words, tmp_path / "log")
    command.until(lambda: server.calls["GET jobs/*/events"] > 1)
    result = command.send(signal.SIGINT)
    assert result.code == 2
    assert f"job ftjob-0 goes on at {server.url}; --cancel stops it" in result.out
    assert "run the same command again to resume" in result.err
    assert server.jobs["ftjob-0"]["status"] == "validating_files"
    assert done(*words, "--cancel").out == "job ftjob-0: cancelled\n"
    assert "job ftjob-0 had ended: cancelled" in done(*words, "--cancel").out
    assert "was cancelled; choose another --output" in refused(*words)


def test_a_job_is_cancelled_while_another_process_follows_it(
    words: list[object], server: Provider, tmp_path: Path
) -> None:
    """From a second terminal; the first says so and ends."""
    server.held = True
    command = Command(words, tmp_path / "log")
    command.until(lambda: server.calls["GET jobs/*/events"] > 1)
    assert done(*words, "--cancel").out == "job ftjob-0: cancelled\n"
    result = command.result()
    assert result.code == 2
    assert "job ftjob-0 was cancelled; choose another --output" in result.err


def test_a_job_that_was_started_and_not_noted_can_be_cancelled(
    words: list[object], server: Provider
) -> None:
    """It is looked for first."""
    server.broken = lambda desk, call, _: call == "GET jobs" and status(401, "no")(desk)
    server.lost = {"POST jobs"}
    assert call(*words, "--endpoint-set", "timeout=0.3").code == 2
    server.broken = lambda *_: False
    assert done(*words, "--cancel").out == "job ftjob-0: cancelled\n"


def test_nothing_to_cancel(words: list[object], server: Provider, tmp_path: Path) -> None:
    """Said, with the folder; no folder is made."""
    assert "has started no job" in refused(*words, "--cancel")
    assert not (tmp_path / "run").exists()


def test_a_job_that_fails_is_exit_code_two_when_the_file_is_to_blame(
    words: list[object], server: Provider
) -> None:
    """One message, no traceback."""
    server.outcome = "failed"
    assert "ftjob-0 failed: Row 3 has no answer." in refused(*words)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--job-set", "hyperparams.n_epochs=2"], "--job-set: hyperparams: unknown key; did you"),
        (["--endpoint-set", "retry=2"], "--endpoint-set: retry: unknown key; did you mean"),
        (["--engine", "vllm"], "a provider listens at a URL"),
        (["--engine", "https://example.invalid/v1"], "set the environment variable OPENAI_API_KEY"),
        (["--rows", "9"], "takes at least 10"),
    ],
)
def test_mistakes_are_refused_before_anything_is_sent(
    words: list[object],
    server: Provider,
    more: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By option and key."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert said in refused(*words, *more)
    assert not server.calls


@pytest.mark.parametrize("more", [["--engine", "http://x"], ["--job-set", "a=1"], ["--cancel"]])
def test_a_providers_options_need_one(more: list[str], tmp_path: Path) -> None:
    """Alone they would be ignored, and a user would not know."""
    asked = ["train", "baseline", "--model", "testbed:aligned", "--data", "garden"]
    said = refused(*asked, "--output", tmp_path / "run", *more)
    assert f"{more[0]}: is of a provider's job; add --provider openai" in said
