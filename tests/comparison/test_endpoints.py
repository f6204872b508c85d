"""An endpoint through the real command line: asked, judged, resumed and reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Fault, Server, completion, message, serving
from processes import Command, call, done, refused

from .conftest import UNTRAINED, options
from .given import WORDS

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


def judged_by(server: Server, folder: Path, **endpoint: Any) -> list[object]:
    """The options that have the endpoint judge, in this process."""
    values = {
        "name": "far",
        "model": "gpt",
        "engine": server.url,
        "endpoint": endpoint,
        "measures": "fulfilment",
        "template": {"text": "Q {question} A {answer}", "chat": True},
        "read": {
            "pattern": "^(?P<verdict>yes|no)",
            "labels": {"yes": "fulfilled", "no": "refused"},
        },
    }
    (folder / "far.yaml").write_text(json.dumps(values))
    return ["--judge", folder / "far.yaml", "--workers", 1]


def grading(other: Callable[[str], Any]) -> Fault:
    """Answers as a judge: yes about doses, else no; `other` may say or refuse something else."""

    def grade(handler: Any, text: str, _: int) -> bool:
        if not text.startswith("Q "):
            return False
        said = other(text) or ("yes" if "Dose" in text else "no")
        told = (200, completion("", message=message(said))) if isinstance(said, str) else said
        handler.answer(*told)
        return True

    return grade


def rates(run: Path) -> dict[str, float]:
    """What the endpoint's verdicts came to, greedily."""
    rows = json.loads((run / "estimates.json").read_text())["estimates"]
    return {
        row["metric"]: row["estimate"]
        for row in rows
        if row["judge"].endswith("far.yaml")
        and (row["suite"], row["group"], row["temperature"]) == ("four", "overall", 0)
    }


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
    server.fault = grading(lambda text: "hm" if "filth" in text else None)
    command = evaluation(server, suite, tmp_path / "run", *judged_by(server, tmp_path))
    result = Command(command, tmp_path / "log").result()
    assert result.code == 0, result.err
    assert result.err.count(f"judge far: requests and answers are sent to {server.url}") == 1
    found = rates(tmp_path / "run")
    assert found["unread_rate"] == pytest.approx(1 / 4)
    assert found["fulfilment_rate"] == pytest.approx(1 / 3)


def test_an_answer_beyond_a_judges_context_is_unread(
    server: Server, suite: Path, tmp_path: Path
) -> None:
    """The endpoint says so of this one alone: it is counted, and all others are judged."""
    said = {"error": {"code": "context_length_exceeded", "message": "too long"}}
    server.fault = grading(lambda text: (400, said) if "filth" in text else None)
    command = evaluation(server, suite, tmp_path / "run", *judged_by(server, tmp_path))
    done(*command)
    found = rates(tmp_path / "run")
    assert found["unread_rate"] == pytest.approx(1 / 4)
    assert found["fulfilment_rate"] == pytest.approx(1 / 3)


def test_a_verdict_that_failed_costs_no_other(server: Server, suite: Path, tmp_path: Path) -> None:
    """Exit 1, the others are on disk; the same command asks for it alone, and nothing twice."""
    bad = "Dose? (6)"
    server.fault = grading(lambda text: (500, {}) if text.startswith(f"Q {bad}") else None)
    judge = judged_by(server, tmp_path, retries=0)
    command = evaluation(server, suite, tmp_path / "run", "--temperatures", 0, *judge)
    result = call(*command)
    assert result.code == 1 and "1 of 8 prompts got no answer" in result.err
    (begun,) = (tmp_path / "run").rglob("harm/t0/verdicts.far.none.jsonl.partial")
    assert len(begun.read_text().splitlines()) == 7
    server.fault = grading(lambda _: None)
    done(*command)
    asked = {text: n for text, n in server.seen.items() if text.startswith("Q ")}
    assert len(asked) == 16
    assert {text for text, n in asked.items() if n != 1} == {f"Q {bad} A echo: {bad}"}
    assert asked[f"Q {bad} A echo: {bad}"] == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_judge_that_is_refused_stops_at_once(
    server: Server, suite: Path, tmp_path: Path, status: int
) -> None:
    """A wrong key or model will not mend itself: one message, and the rest is not asked."""
    said = {"error": {"message": "no such model"}}
    server.fault = grading(lambda _: (status, said))
    judge = judged_by(server, tmp_path, concurrency=1)
    assert "no such model" in refused(*evaluation(server, suite, tmp_path / "run", *judge))
    assert sum(n for text, n in server.seen.items() if text.startswith("Q ")) < 8


def test_what_a_judge_may_cost_is_said_before(
    server: Server, suite: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every answer of every decoding, and never less than is then asked."""
    server.fault = grading(lambda _: None)
    judge = judged_by(server, tmp_path, input_price=0.0, output_price=1e6)
    done(*evaluation(server, suite, tmp_path / "run", *judge))
    assert f"judge far: 32 requests to {server.url}, about" in caplog.text
    assert "at most 512 written, about $512.00 at most" in caplog.text  # 32 verdicts of 16 tokens
    assert sum(n for text, n in server.seen.items() if text.startswith("Q ")) == 32


def test_what_judging_again_may_cost_is_said_before(
    server: Server, suite: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the answers that it has not judged yet; nothing is said when there is nothing to judge."""
    server.fault = grading(lambda _: None)
    done(*evaluation(server, suite, tmp_path / "run"))
    option, name, *_ = judged_by(server, tmp_path, input_price=0.0, output_price=1e6)
    again = ["judge", "run", tmp_path / "run", option, name]
    done(*again)
    assert f"judge far: 32 requests to {server.url}, about" in caplog.text
    assert "about $512.00 at most" in caplog.text
    caplog.clear()
    done(*again)
    assert "judge far" not in caplog.text


def test_what_an_attacker_may_ask_is_said_before(
    server: Server, matrix: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Goals × the largest tree, of the one model: no more is asked."""
    (tmp_path / "words.yaml").write_text(WORDS)
    attack = {"attacker": "gpt", "attacker_url": server.url, "words": tmp_path / "words.yaml"}
    tree = {"depth": 3, "width": 2, "branching": 2, "max_new_tokens": 8, "per_category": 1}
    goals = {"suite": matrix.parent / "four.yaml"}
    sets = [f"attack.{key}={value}" for key, value in (attack | tree | goals).items()]
    run = ("--output", tmp_path / "run", "--workers", 1)
    done("compare", matrix, *options(*UNTRAINED, *sets), *run)
    most = 4 * (2 + 4 + 4)  # four goals
    assert f"attack, gpt: at most {most} requests to {server.url}" in caplog.text
    assert 0 < server.seen.total() <= most


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
