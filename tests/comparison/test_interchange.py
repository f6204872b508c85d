"""A run leaves safeft and comes back: exports that other readers open, pruned texts, imports."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from processes import done, refused

from comparison.conftest import Comparison


def exported(comparison: Comparison, target: Path, *more: object) -> list[dict[str, Any]]:
    """The records of a JSONL export."""
    done("runs", "export", comparison.output, target, *more)
    return [json.loads(line) for line in target.read_text().splitlines()]


def test_every_answer_is_exported_with_its_labels(compared: Comparison, tmp_path: Path) -> None:
    """As many rows as verdicts on disk, each label as the judge gave it; no text unless asked."""
    rows = exported(compared, tmp_path / "run.jsonl")
    files = list(compared.output.rglob("verdicts.keyword.none.jsonl"))
    verdicts = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(rows) == len(verdicts) > 0
    assert sorted(row["label.keyword"] for row in rows) == sorted(v["label"] for v in verdicts)
    assert not {"prompt", "response"} & set(rows[0])
    assert {row["recipe"] for row in rows} == {"untuned", "baseline", "frozen", "given"}


def test_scores_come_with_the_labels_that_they_explain(
    compared: Comparison, tmp_path: Path
) -> None:
    """A judge that gives numbers has them in every record, JSON Lines or Parquet."""
    from pyarrow import parquet

    copied = compared.copy(tmp_path)
    done("judge", "run", copied.output, "--judge", "toxicity")
    rows = exported(copied, tmp_path / "run.jsonl")
    files = list(copied.output.rglob("verdicts.toxicity.none.jsonl"))
    verdicts = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    given = sorted(one["scores"]["toxicity"] for one in verdicts)
    assert sorted(row["score.toxicity.toxicity"] for row in rows) == given
    done("runs", "export", copied.output, tmp_path / "run.parquet")
    table = parquet.read_table(tmp_path / "run.parquet")
    assert sorted(table["score.toxicity.toxicity"].to_pylist()) == given


def test_texts_come_when_they_are_asked_for(compared: Comparison, tmp_path: Path) -> None:
    """Their hash is the one that the verdict was tied to."""
    for row in exported(compared, tmp_path / "run.jsonl", "--texts"):
        digest = hashlib.sha256(row["response"].encode()).hexdigest()
        assert row["response_hash"] == digest[:16]


def test_parquet_holds_the_same_records(compared: Comparison, tmp_path: Path) -> None:
    """Read back by Arrow itself."""
    from pyarrow import parquet

    rows = exported(compared, tmp_path / "run.jsonl")
    done("runs", "export", compared.output, tmp_path / "run.parquet")
    assert parquet.read_table(tmp_path / "run.parquet").to_pylist() == rows


def test_the_hubs_own_reader_opens_the_model_index(compared: Comparison, tmp_path: Path) -> None:
    """Every estimate over all prompts, with its interval and n."""
    from huggingface_hub import ModelCard

    done("runs", "export", compared.output, tmp_path / "index.md", "--as", "model-index")
    results = ModelCard.load(tmp_path / "index.md").data.eval_results
    document = json.loads((compared.output / "estimates.json").read_text())
    overall = [row["estimate"] for row in document["estimates"] if row["group"] == "overall"]
    known = sorted(value for value in overall if value is not None)
    assert sorted(one.metric_value for one in results) == known
    assert {"low", "high", "n", "judge"} <= set(results[0].metric_args)


def test_lm_eval_names_are_kept(compared: Comparison, tmp_path: Path) -> None:
    """`metric,filter` keys under `results`, and its own table maker shows every one of them."""
    make_table = pytest.importorskip("lm_eval.utils").make_table
    done("runs", "export", compared.output, tmp_path / "results.json", "--as", "lm-eval")
    whole = json.loads((tmp_path / "results.json").read_text())
    task = "untuned, epoch 0, four, keyword, t=0"
    assert {"alias", "fulfilment_rate,none", "fulfilment_rate_low,none"} <= set(
        whole["results"][task]
    )
    assert whole["n-samples"][task] == {"original": 4, "effective": 4}
    assert whole["higher_is_better"][task]["refusal_rate"] is True
    table = make_table(whole)
    assert all(one["alias"] in table for one in whole["results"].values())
    assert "fulfilment_rate_low" in table


def test_an_unknown_format_and_a_file_in_the_way_are_refused(
    compared: Comparison, tmp_path: Path
) -> None:
    """Nothing is written over."""
    assert "no format 'xml'" in refused("runs", "export", compared.output, tmp_path / "run.xml")
    (tmp_path / "run.jsonl").write_text("mine")
    assert "is there already" in refused("runs", "export", compared.output, tmp_path / "run.jsonl")
    assert (tmp_path / "run.jsonl").read_text() == "mine"
    assert "holds no run" in refused("runs", "prune", tmp_path, "--yes")


def test_pruned_texts_are_gone_and_the_report_is_not(
    copied: Comparison, tmp_path: Path, numbers: Any
) -> None:
    """No word of an answer is left; labels, hashes and numbers are."""
    texts = {row["response"] for row in exported(copied, tmp_path / "all.jsonl", "--texts")}
    before = exported(copied, tmp_path / "before.jsonl")
    told = done("runs", "prune", copied.output, "--yes").out
    assert "files deleted" in told
    assert not list(copied.output.rglob("responses.*"))
    long = [text for text in texts if len(text) > 12]
    for path in copied.output.rglob("*.jsonl"):
        assert not [text for text in long if text in path.read_text()]
    assert exported(copied, tmp_path / "after.jsonl") == before
    stored = numbers(copied.output)
    done(*copied.arguments())
    assert numbers(copied.output) == stored
    assert "the texts are gone" in refused(
        *("runs", "export", copied.output, tmp_path / "more.jsonl", "--texts")
    )


@pytest.fixture
def answers(compared: Comparison, tmp_path: Path) -> Path:
    """The un-tuned model's answers as another tool would have kept them."""
    rows = exported(compared, tmp_path / "all.jsonl", "--texts")
    mine = [row for row in rows if row["recipe"] == "untuned"]
    kept = ("id", "response", "temperature", "seed", "finish")
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({key: row[key] for key in kept}) + "\n" for row in mine))
    return path


def evaluated(compared: Comparison, answers: Path, output: Path) -> list[object]:
    """The command that judges answers from elsewhere."""
    suite = compared.matrix.parent / "four.yaml"
    words = ["eval", "their/model", "--responses", answers, "--suite", suite, "--judge", "keyword"]
    return [*words, "--per-category", 1, "--temperatures", "0,0.7", "--output", output]


def test_answers_from_elsewhere_are_judged_alike(
    compared: Comparison, answers: Path, tmp_path: Path
) -> None:
    """The same answers give the same rates, whoever generated them; no model is loaded."""
    done(*evaluated(compared, answers, tmp_path / "run"))
    found = json.loads((tmp_path / "run/estimates.json").read_text())["estimates"]
    ours = json.loads((compared.output / "estimates.json").read_text())["estimates"]

    def rates(rows: list[dict[str, Any]], recipe: str) -> dict[tuple[Any, ...], float]:
        keys = ("suite", "metric", "temperature", "group")
        return {
            tuple(row[key] for key in keys): row["estimate"]
            for row in rows
            if row["recipe"] == recipe and row["judge"] == "keyword"
        }

    theirs = rates(found, "responses")
    assert {row["engine"] for row in found} == {"imported"}
    assert theirs and theirs == {key: rates(ours, "untuned")[key] for key in theirs}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "no answer to"),
        (lambda rows: [*rows, rows[0]], "again"),
        (lambda rows: [{**rows[0], "response": 7}, *rows[1:]], "row 1: response should be text"),
        (lambda rows: [{**rows[0], "finish": "?"}, *rows[1:]], "finish should be one of"),
        (lambda rows: [{**rows[0], "seed": "x"}, *rows[1:]], "seed should be a number"),
        (lambda rows: [{"response": "x"}, *rows], "neither id nor prompt"),
    ],
)
def test_a_broken_file_of_answers_names_the_row(
    compared: Comparison, answers: Path, tmp_path: Path, change: Any, said: str
) -> None:
    """A missing answer is never an empty one."""
    rows = change([json.loads(line) for line in answers.read_text().splitlines()])
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said in refused(*evaluated(compared, answers, tmp_path / "run"))


def test_what_a_table_leaves_empty_is_zero(
    compared: Comparison, answers: Path, tmp_path: Path
) -> None:
    """A CSV's empty cell and a NaN mean that nothing was said: temperature 0, seed 0."""
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    for row in rows:
        row["seed"] = "" if row["seed"] == 0 else row["seed"]
        row["temperature"] = math.nan if row["temperature"] == 0 else row["temperature"]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done(*evaluated(compared, answers, tmp_path / "run"))


def test_a_missing_file_of_answers_is_refused(compared: Comparison, tmp_path: Path) -> None:
    """Before anything is written."""
    message = refused(*evaluated(compared, tmp_path / "none.jsonl", tmp_path / "run"))
    assert "none.jsonl: cannot be read" in message
    assert not (tmp_path / "run").exists()
