"""Laws of building: a recipe's rows without training, as a file that reads back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Server, serving
from processes import call, done, refused

from safeft.data import examples, load
from safeft.runs import read_json
from training.conftest import Job


@pytest.fixture
def server() -> Iterator[Server]:
    """An endpoint that answers `echo: …`."""
    with serving() as made:
        yield made


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Twelve rows."""
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"Plant {n}?", "completion": f"Water it {n} times."} for n in range(12)]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def words(rows: Path, output: Path, recipe: str, *more: object) -> list[object]:
    """The command."""
    return ["data", "build", recipe, "--data", rows, "--output", output, *more]


def said(path: Path) -> list[tuple[tuple[str, str], ...]]:
    """What our own reader finds in a file: roles and contents."""
    found = examples(load(str(path)))
    return [tuple((turn.role, turn.content) for turn in one.messages) for one in found]


@pytest.mark.parametrize("format", ["openai", "chat"])
def test_the_rows_read_back(rows: Path, tmp_path: Path, format: str) -> None:
    """Without a method they are the data; the file's facts lie beside it and nothing else stays."""
    output = tmp_path / "built.jsonl"
    done(*words(rows, output, "baseline", "--format", format))
    assert said(output) == said(rows)
    facts = read_json(tmp_path / "built.manifest.json")
    assert (facts["rows"], facts["config"]["format"]) == (12, format)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"rows.jsonl", "built.jsonl", "built.manifest.json"}


def test_an_endpoint_writes_its_own_answers(rows: Path, tmp_path: Path, server: Server) -> None:
    """And is named before it is asked."""
    output = tmp_path / "built.jsonl"
    asked = ["--model", "m", "--engine", server.url, "--endpoint-set", "concurrency=2"]
    told = done(*words(rows, output, "self_generated", *asked)).out
    assert told.count(f"what m writes itself is asked of {server.url}; the prompts are sent") == 1
    assert [one[-1] for one in said(output)] == [
        ("assistant", f"echo: Plant {n}?") for n in range(12)
    ]


def test_the_model_here_writes_what_training_would_train(job: Job, tmp_path: Path) -> None:
    """The same rows and notes as in `safeft train`, by a local model."""
    output, more = tmp_path / "built.jsonl", ["--set", "methods.0.max_new_tokens=4"]
    done(*words(job.data, output, "self_generated", "--model", job.model, *more))
    facts = read_json(tmp_path / "built.manifest.json")
    run = tmp_path / "run"
    small = ["--set", "trainer.num_train_epochs=1", *more]
    done("train", "self_generated", *job.arguments(run, *small)[2:])
    assert facts["methods"] == read_json(run / "train.json")["methods"]
    (written,) = run.glob("written-*.jsonl")
    answers = [json.loads(line)["text"] for line in written.read_text().splitlines()]
    assert [one[-1][1] for one in said(output)] == answers


def test_safety_rows_are_mixed_in(rows: Path, tmp_path: Path, server: Server) -> None:
    """Refusals and answers that the endpoint itself has given."""

    def refuse(desk: Any, text: str, _: int) -> bool:
        from endpoint import completion, message

        sorry = text not in harmless and "Plant" not in text
        if sorry:
            body = completion(text, message=message("I'm sorry, but I can't help with that."))
            desk.answer(200, body)
        return sorry

    from safeft.training.methods.safety_rows import read_pool

    harmless = {row.prompt.text for row in read_pool("safety_lookalikes", "safety_mix")}
    server.fault = refuse
    output = tmp_path / "built.jsonl"
    done(*words(rows, output, "safety_mix", "--model", "m", "--engine", server.url))
    found = said(output)
    assert len(found) == 14
    assert sum(one[-1][1].startswith("I'm sorry") for one in found) == 1


def test_a_finished_file_is_not_made_again(rows: Path, tmp_path: Path, server: Server) -> None:
    """The endpoint is asked nothing; another recipe in its place is refused."""
    output = tmp_path / "built.jsonl"
    own = ["--model", "m", "--engine", server.url]
    done(*words(rows, output, "self_generated", *own))
    before = (server.seen.copy(), output.stat().st_mtime_ns)
    done(*words(rows, output, "self_generated", *own))
    assert (server.seen, output.stat().st_mtime_ns) == before
    assert "is of another recipe" in refused(*words(rows, output, "baseline", *own))
    output.write_text("changed\n")
    assert "was changed since" in refused(*words(rows, output, "self_generated", *own))


def test_what_was_written_survives_a_failure(rows: Path, tmp_path: Path, server: Server) -> None:
    """The same command asks for the rest alone."""
    server.fault = lambda desk, text, _: text == "Plant 5?" and bool(desk.answer(500, {}) or 1)
    output, own = tmp_path / "built.jsonl", ["--model", "m", "--engine", server.url]
    own += ["--endpoint-set", "retries=0", "--endpoint-set", "concurrency=1"]
    assert call(*words(rows, output, "self_generated", *own)).code == 1
    assert not output.exists()
    server.fault = lambda *_: False
    done(*words(rows, output, "self_generated", *own))
    assert {text for text, times in server.seen.items() if times > 1} == {"Plant 5?"}


def test_what_is_in_the_way_is_not_overwritten(rows: Path, tmp_path: Path) -> None:
    """A file of the user's own, and a name without .jsonl."""
    (tmp_path / "mine.jsonl").write_text("mine\n")
    assert "choose another --output" in refused(*words(rows, tmp_path / "mine.jsonl", "baseline"))
    assert (tmp_path / "mine.jsonl").read_text() == "mine\n"
    assert "must end in .jsonl" in refused(*words(rows, tmp_path / "mine.csv", "baseline"))


def test_ten_rows_at_least_for_openai(rows: Path, tmp_path: Path) -> None:
    """Other formats take any number; the refused command leaves the way free."""
    output = tmp_path / "built.jsonl"
    few = words(rows, output, "baseline", "--rows", 9)
    assert "9 rows, but OpenAI's fine-tuning takes at least 10" in refused(*few)
    done(*few, "--format", "chat")
    assert len(said(output)) == 9


def test_plain_texts_are_no_chats(tmp_path: Path) -> None:
    """By the row."""
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "A long text."}\n' * 12)
    assert "row 1: is a plain `text`" in refused(*words(path, tmp_path / "built.jsonl", "baseline"))


def test_a_recipe_that_has_the_model_write_needs_one(rows: Path, tmp_path: Path) -> None:
    """Named only where it is needed; an engine is a URL."""
    plan = words(rows, tmp_path / "built.jsonl", "self_generated")
    assert "name it (--model)" in refused(*plan)
    assert "must be the URL" in refused(*plan, "--model", "m", "--engine", "vllm")


def test_rows_of_the_suite_are_kept_out(tmp_path: Path) -> None:
    """As in training: what is evaluated is not trained on."""
    from safeft.evaluation import load_suite

    asked = load_suite("safeft-44").all_prompts()[0].text
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": asked, "completion": "No."}) + "\n")
    plan = words(path, tmp_path / "built.jsonl", "baseline", "--format", "chat")
    assert "repeats evaluation prompts" in refused(*plan)
    done(*plan, "--allow-overlap")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("constrained", "constrained changes the loss"),
        ("ema", "ema changes the optimizer's steps"),
        ("ptst", "ptst acts where the model is served (a system prompt: safeft eval --system"),
    ],
)
def test_what_rows_cannot_carry_is_refused_by_name(
    rows: Path, tmp_path: Path, recipe: str, said: str
) -> None:
    """With the reason, before anything is asked or written."""
    message = refused(*words(rows, tmp_path / "built.jsonl", recipe))
    assert f"recipe {recipe}: {said}" in message
    assert "remove it, or choose a recipe of data methods only" in message
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_methods_of_both_kinds_are_refused_for_the_one_that_does_not_fit(
    rows: Path, tmp_path: Path
) -> None:
    """The data method beside it is not blamed."""
    both = "methods=[{name: lookahead}, {name: ema}]"
    said = refused(*words(rows, tmp_path / "built.jsonl", "baseline", "--set", both))
    assert "recipe baseline: ema changes" in said
    assert "lookahead" not in said


def test_an_endpoint_has_no_tokenizer_to_count_with(
    rows: Path, tmp_path: Path, server: Server
) -> None:
    """Look-ahead by a text works without one, by the model's tokens it is refused."""
    plan = words(rows, tmp_path / "built.jsonl", "lookahead", "--model", "m")
    plan += ["--engine", server.url]
    assert "use mode: virtual" in refused(*plan, "--set", "methods.0.mode=real")
    done(*plan)
    asked, answer = said(tmp_path / "built.jsonl")[0]
    assert asked[1] == "Plant 0? Let's solve this problem."
    assert answer[1] == "Let's solve this problem. Water it 0 times."
