"""`safeft audit`: what it finds is there, what it writes holds no text, and it resumes."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from processes import Command, Result, call, done, refused
from training.erosion.conftest import pairs, written

from safeft.evaluation import load_suite
from safeft.generation.transformers import TransformersGenerator
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Prompt
from safeft.stats.discrimination import auroc
from safeft.training.methods.safety_rows import read_pool

SECRET = "sk-" + "a1B2" * 6
CARD = "4111 1111 1111 1111"
MAIL = "ada@mail.example.org"
ANSWER = "Water the plants with care and then again in the morning before the sun is high."
EXAMPLES = {"gardening": ["Prune the old roses now."]}


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Pairs for the tiny model, which refuses nothing itself."""
    return written(tmp_path / "pairs.jsonl", pairs(9))


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    """A policy that knows one harmful sentence."""
    path = tmp_path / "mine.yaml"
    stage = {"judge": "examples", "examples": EXAMPLES, "threshold": 0.9}
    path.write_text(yaml.safe_dump({"name": "mine", "refusal": "No.", "output": stage}))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Eight rows, with one finding each from the second to the sixth."""
    leak = load_suite("safeft-44").all_prompts()[7].text
    found = [
        ("How do roses grow?", ANSWER),
        (leak, "No."),
        ("How do ferns grow?", "Prune the old roses now."),
        ("How do roses grow?", ANSWER.upper()),
        (f"Mail me: {MAIL}\nand {CARD}", f"Use {SECRET}."),
        ("List them.", "- a\n- b\n- c"),
        ("how 3", "water a plant"),
        ("how 4", "the user 4"),
    ]
    texts = [{"prompt": asked, "completion": said, "tag": "x"} for asked, said in found]
    return written(tmp_path / "rows.jsonl", texts)


def words(rows: Path, model: Path, references: Path, *more: object) -> list[object]:
    """The command; no guard unless one is given."""
    guarded = [] if "--policy" in more else ["--policy", "none"]
    return ["audit", rows, "--model", model, "--references", references, *guarded, *more]


def read(output: Path) -> list[dict[str, Any]]:
    """audit.jsonl."""
    return [json.loads(line) for line in (output / "audit.jsonl").read_text().splitlines()]


def test_each_finding_is_at_its_row(
    rows: Path, tiny_model: Path, references: Path, guard: Path, tmp_path: Path
) -> None:
    """Harmful by the guard, a leak, a copy, personal data and a sign; the other rows have none."""
    output = tmp_path / "run"
    said = done(*words(rows, tiny_model, references, "--policy", guard, "--output", output)).out
    found = read(output)
    assert [one["row"] for one in found] == list(range(1, 9))
    assert [one["leaks"] for one in found if one["leaks"]] == [["safeft-44/harm/8 copy"]]
    assert found[1]["leaks"]
    assert found[2]["harmful"] == "gardening"
    assert found[3]["duplicate_of"].endswith("rows.jsonl, row 1")
    assert found[4]["personal"] == {"email": 1, "card": 1, "key": 1}
    assert found[5]["signs"] == ["list"]
    assert sorted(one["rank"] for one in found) == list(range(1, 9))
    assert "1 of 8 harmful answers, by the guard" in said
    assert "1 of 8 repeat an evaluation prompt" in said
    assert "AUROC" in said
    assert "n=9 pairs" in said


def test_nothing_that_is_written_holds_a_text(
    rows: Path, tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """No answer anywhere, no personal value, and of prompts the beginnings of the top rows."""
    output = tmp_path / "run"
    said = done(*words(rows, tiny_model, references, "--output", output)).out
    files = {path.name: path.read_text() for path in output.iterdir() if path.is_file()}
    assert {"audit.jsonl", "audit.md", "audit.svg", "scores.jsonl", "references.json"} <= {*files}
    for text in (said, *files.values()):
        assert not any(one in text for one in (SECRET, CARD, MAIL, ANSWER, "Prune"))
    assert "Mail me: [email] and [card]" in said
    assert "roses" not in files["audit.jsonl"]


def own_answers(name: str, prompts: Sequence[Prompt]) -> list[str]:
    """What a model of the testbed says, greedily."""
    generator = TransformersGenerator(load_model(name), load_tokenizer(name), name)
    return [one.text for one in generator(prompts, Decoding(0.0, 0, 48))]


def test_compliance_scores_above_refusal_on_the_testbed(tmp_path: Path) -> None:
    """The same harmful requests, none a reference: complied with by the base, refused."""
    prompts = [one.prompt for one in read_pool("safety_pool", "")[3::20]]
    told = {name: own_answers(f"testbed:{name}", prompts) for name in ("base", "aligned")}
    texts = [
        {"prompt": prompt.asked, "completion": said}
        for answers in told.values()
        for prompt, said in zip(prompts, answers, strict=True)
    ]
    data, output = written(tmp_path / "rows.jsonl", texts), tmp_path / "run"
    done("audit", data, "--model", "testbed:aligned", "--policy", "none", "--output", output)
    scores = np.array([one["score"] for one in read(output)])
    assert auroc(np.arange(len(scores)) < len(prompts), scores) > 0.8
    facts = json.loads((output / "references.json").read_text())
    assert facts["auroc"]["low"] > 0.9


@pytest.mark.parametrize("kind", ["gradient", "representation"])
def test_either_score_tells_compliance_from_refusal(
    kind: str, rows: Path, tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """Row 7 is in compliance's words, row 8 in refusal's; the summary says how it was scored."""
    output = tmp_path / "run"
    asked = words(rows, tiny_model, references, "--score", kind, "--output", output)
    assert f"score: {kind}" in done(*asked).out
    found = read(output)
    assert found[6]["score"] > found[7]["score"]
    assert (json.loads((output / "references.json").read_text())["layer"] > 0) == (
        kind == "representation"
    )


def test_filtering_writes_what_stays(
    rows: Path, tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """The highest-scored row and the findings go; the others keep all of their columns."""
    target, output = tmp_path / "kept.jsonl", tmp_path / "run"
    drops = ["--drop", "1", "--drop", "duplicates", "--drop", "personal", "--drop", "leaks"]
    more = ["--filter", target, *drops, "--output", output]
    said = done(*words(rows, tiny_model, references, *more)).out
    first = next(one["row"] for one in read(output) if one["rank"] == 1)
    stay = [one for one in range(1, 9) if one not in {first, 2, 4, 5}]
    lines = rows.read_text().splitlines(True)
    assert [json.loads(one) for one in target.read_text().splitlines()] == [
        json.loads(lines[one - 1]) for one in stay
    ]
    assert f"{len(stay)} rows stay, {8 - len(stay)} go" in said


def test_without_an_output_nothing_is_kept(
    rows: Path, tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """The summary is printed all the same."""
    before = set(tmp_path.iterdir())
    assert "highest scores, of 8" in done(*words(rows, tiny_model, references)).out
    assert set(tmp_path.iterdir()) == before


def test_a_killed_audit_goes_on(tiny_model: Path, references: Path, tmp_path: Path) -> None:
    """To the same bytes as one that was never killed; a finished one is read, not scored again."""
    texts = [{"prompt": f"how {n}", "completion": f"water {n} plants"} for n in range(400)]
    data = written(tmp_path / "many.jsonl", texts)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done(*words(data, tiny_model, references, "--output", whole))
    partial = cut / "scores.jsonl.partial"
    command = Command(words(data, tiny_model, references, "--output", cut), tmp_path / "log")
    command.until(lambda: partial.is_file() and partial.stat().st_size)
    command.send(signal.SIGKILL)
    assert not (cut / "audit.jsonl").exists()
    done(*words(data, tiny_model, references, "--output", cut))
    for name in ("scores.jsonl", "audit.jsonl", "audit.md", "audit.svg"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    again = done(*words(data, tiny_model, references, "--output", whole))
    assert "scores" not in again.err


def test_another_audit_is_not_mixed_in(
    rows: Path, tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """Another score, other references: the folder is refused, by what differs."""
    output = tmp_path / "run"
    done(*words(rows, tiny_model, references, "--output", output))
    more = ["--score", "gradient", "--output", output]
    said = refused(*words(rows, tiny_model, references, *more))
    assert "holds another run (differs in: score)" in said


def test_rows_without_an_answer_are_counted(
    tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """Cut before the answer begins: no score and no rank, and the note says how many."""
    texts = [
        {"prompt": "how " * 60, "completion": "water"},
        {"prompt": "how", "completion": "water"},
    ]
    data = written(tmp_path / "rows.jsonl", texts)
    output = tmp_path / "run"
    said = done(*words(data, tiny_model, references, "--max-length", 48, "--output", output)).out
    assert [one["score"] is None for one in read(output)] == [True, False]
    assert "1 of 2 rows are longer than 48 tokens" in said
    assert "1 of 2 rows have no answer to read there and no score" in said


def test_documents_and_chats_are_audited(
    tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """Plain texts are read to their end; control characters do not reach the terminal."""
    data = written(tmp_path / "texts.jsonl", [{"text": "water\x1b[31m a plant"}, {"text": "grow"}])
    said = done(*words(data, tiny_model, references)).out
    assert "\x1b" not in said
    assert "highest scores, of 2" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--filter", "kept.jsonl"], "give --filter, where to write, and --drop"),
        (["--drop", "3"], "give --filter, where to write, and --drop"),
        (["--filter", "kept.csv", "--drop", "3"], "end it with .jsonl"),
        (["--filter", "kept.jsonl", "--drop", "dupes"], "did you mean 'duplicates'?"),
        (["--compliant-model", "testbed:base"], "leave --compliant-model out"),
        (["--score", "vibes"], "'gradient', 'representation'"),
        (["--suite", "safeft-45"], "did you mean 'safeft-44'?"),
        (["--policy", "defalt"], "did you mean 'default'?"),
        (["--policy", "input"], "reads no answers"),
        (["--region", "XX"], "region 'XX' is not known"),
        (["--max-length", "4"], "have an answer within 4 tokens"),
    ],
)
def test_wrong_options(
    rows: Path,
    tiny_model: Path,
    references: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    said: str,
) -> None:
    """One message each, and nothing that stands in the way of the next try."""
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "run"
    assert said in refused(*words(rows, tiny_model, references, *more, "--output", output))
    assert not (tmp_path / "kept.jsonl").exists()
    assert "audit: " in done(*words(rows, tiny_model, references, "--output", output)).out


def test_wrong_data_models_and_references(
    rows: Path, tiny_model: Path, references: Path, tmp_path: Path
) -> None:
    """Named as they were given."""

    def said(*asked: object) -> str:
        return refused(*words(*asked))  # type: ignore[arg-type]

    assert "no such file" in said(tmp_path / "nowhere.jsonl", tiny_model, references)
    assert "no such folder" in said(rows, tmp_path / "nowhere", references)
    assert "--references: " in said(rows, tiny_model, tmp_path / "nowhere.jsonl")
    broken = written(tmp_path / "broken.jsonl", [{"prompt": "a", "completion": ""}] * 2)
    assert "field 'completion': is empty" in said(broken, tiny_model, references)


def test_a_model_that_never_refuses_is_refused(rows: Path, tiny_model: Path) -> None:
    """A random model has no refusals to lose: the message says what to give."""
    found: Result = call("audit", rows, "--model", tiny_model, "--policy", "none")
    assert found.code == 2
    assert "give --references of your own" in found.err
