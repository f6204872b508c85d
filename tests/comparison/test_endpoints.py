"""An endpoint through the real command line: asked, judged, resumed and reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Server, completion, message, serving
from processes import Command, done, refused

pytest.importorskip("openai")


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this machine."""
    with serving() as made:
        yield made


@pytest.fixture
def suite(matrix: Path) -> Path:
    """The small suite of the comparisons."""
    return matrix.parent / "four.yaml"


def evaluation(server: Server, suite: Path, output: Path, *more: object) -> list[object]:
    """The command that asks the endpoint."""
    words = ["eval", "their-model", "--engine", server.url, "--suite", suite, "--judge", "keyword"]
    return [*words, "--temperatures", "0,0.7", "--output", output, *more]


def test_an_endpoint_is_evaluated_and_resumed(server: Server, suite: Path, tmp_path: Path) -> None:
    """A prompt fails to the end: exit 1, the rest is kept; again, it alone is asked; then never."""
    run = tmp_path / "run"
    bad = "Dose? (6)"
    server.fault = lambda one, text, _: text == bad and not one.answer(500, {})
    command = evaluation(server, suite, run, "--endpoint-set", "retries=0")
    failed = Command(command, tmp_path / "log").result()
    assert failed.code == 1
    assert "1 of 8 prompts got no answer" in failed.err
    assert f"their-model: 34 requests to {server.url}, about" in failed.err
    before = dict(server.seen)
    server.fault = lambda *_: False
    assert Command(command, tmp_path / "log").result().code == 0
    first = {text: n for text, n in before.items() if text != bad}
    assert all(server.seen[text] >= n for text, n in first.items())
    harm = sorted(run.glob("cells/*/epoch-0/four/harm/*/responses.none.jsonl"))
    assert len(harm) == 2
    rows = [json.loads(line) for line in harm[0].read_text().splitlines()]
    assert {row["served"] for row in rows} == {"fp_1"} and len(rows) == 8
    asked = sum(server.seen.values())
    assert Command(command, tmp_path / "log").result().code == 0
    assert sum(server.seen.values()) == asked
    document = json.loads((run / "estimates.json").read_text())
    assert {one["engine"] for one in document["estimates"]} == {"openai"}
    said = "the endpoint gave the same answer in 2 of 2 decodings"
    assert any(said in note and "fp_1" in note for note in document["notes"])


def test_a_seed_that_is_not_honoured_is_reported(
    server: Server, suite: Path, tmp_path: Path
) -> None:
    """An API may take a seed and answer as it likes."""

    def moody(handler: Any, text: str, attempt: int) -> bool:
        handler.answer(200, completion("", message=message(f"{text} {attempt}")))
        return True

    server.fault = moody
    result = Command(evaluation(server, suite, tmp_path / "run"), tmp_path / "log").result()
    assert result.code == 0, result.err
    notes = json.loads((tmp_path / "run/estimates.json").read_text())["notes"]
    assert any("the same answer in 0 of 2 decodings" in note for note in notes)


def test_a_cost_is_said_before_the_first_request(
    server: Server,
    suite: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With prices in dollars; the key is in no file of the run."""
    prices = ["--endpoint-set", "input_price=1000", "--endpoint-set", "output_price=1e6"]
    monkeypatch.setenv("OPENAI_API_KEY", "secret-2")
    done(*evaluation(server, suite, tmp_path / "run", *prices))
    assert "at most 408 written, about $408." in caplog.text  # 34 answers of 12 tokens
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"secret-2" not in path.read_bytes()
    assert server.keys == {"Bearer secret-2"}


def test_a_judge_at_an_endpoint_tells_where_the_answers_go(
    server: Server, suite: Path, tmp_path: Path
) -> None:
    """Once, however many files it judges; a verdict that cannot be read is unread."""
    judge = tmp_path / "far.yaml"
    judge.write_text(
        f"name: far\nmodel: gpt\nengine: {server.url}\nmeasures: fulfilment\n"
        "template: {text: 'Q {question} A {answer}', chat: true}\n"
        "read: {pattern: '^(?P<verdict>yes|no)', labels: {'yes': fulfilled, 'no': refused}}\n"
    )

    def grade(handler: Any, text: str, _: int) -> bool:
        said = "yes" if "Dose" in text else "hm" if "filth" in text else "no"
        if text.startswith("Q "):
            handler.answer(200, completion("", message=message(said)))
        return text.startswith("Q ")

    server.fault = grade
    command = evaluation(server, suite, tmp_path / "run", "--judge", judge, "--workers", 1)
    result = Command(command, tmp_path / "log").result()
    assert result.code == 0, result.err
    assert result.err.count(f"judge far: requests and answers are sent to {server.url}") == 1
    rows = json.loads((tmp_path / "run/estimates.json").read_text())["estimates"]
    found = {
        row["metric"]: row["estimate"]
        for row in rows
        if row["judge"].endswith("far.yaml")
        and (row["suite"], row["group"], row["temperature"]) == ("four", "overall", 0)
    }
    assert found["unread_rate"] == pytest.approx(1 / 4)
    assert found["fulfilment_rate"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--engine", "vlm"), "engine: no engine 'vlm'"),
        (("--engine", "https://api.example.org/v1"), "OPENAI_API_KEY"),
        (("--adapter", "somewhere"), "leave out recipes, adapters"),
        (("--endpoint-set", "concurency=3"), "--endpoint-set: concurency"),
        (("--engine", "https://me:secret@api.example.org/v1"), "holds a host and a path"),
        (("--engine", "transformers", "--endpoint-set", "retries=3"), "`engine` is no URL"),
    ],
)
def test_mistakes_end_before_anything_is_asked(
    server: Server,
    suite: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    said: str,
) -> None:
    """One message, exit 2, nothing written, nobody asked."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert said in refused(*evaluation(server, suite, tmp_path / "run", *more))
    assert server.seen.total() == 0
    assert not (tmp_path / "run").exists()
