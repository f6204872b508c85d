"""Laws of the export to Inspect: its own reader finds every answer once, with its own label."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from processes import done, refused

from comparison.conftest import Comparison, Guard, guarded_by, options
from comparison.given import OWN
from comparison.inspected import PLACE, Key, labelled, opened, rows, words
from safeft.records import Label

ASKED = (
    "recipes=[]",
    "reference=untuned",
    "decodings.seeds=[3, 5]",
    "policies=[default]",
    "factors={system_prompt: [null, Be brief.]}",
)


class Picky(Guard):
    """Withholds every answer."""

    label = Label.FULFILLED


@pytest.fixture(scope="module")
def asked(compared: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two decoding seeds, a guard, a system prompt, and a judge that reads little."""
    folder = tmp_path_factory.mktemp("asked")
    judge = folder / "mine.yaml"
    judge.write_text(json.dumps(OWN))
    given = ["--adapters", f"given={compared.adapter}", "--output", folder / "run"]
    with pytest.MonkeyPatch.context() as patch:
        guarded_by(patch, Picky)
        done("compare", compared.matrix, *options(*ASKED), *given, "--workers", 1)
        done("judge", "run", folder / "run", "--judge", judge)
    return folder / "run"


@pytest.fixture(scope="module", params=["trained", "asked"])
def run(request: pytest.FixtureRequest, compared: Comparison) -> Path:
    """Training seeds and epochs in the one run, decoding seeds and a guard in the other."""
    if request.param == "trained":
        return compared.output
    found: Path = request.getfixturevalue("asked")
    return found


def test_every_answer_is_one_sample_with_its_labels(run: Path, tmp_path: Path) -> None:
    """In one log and no other; each judge's label as the run has it, word for word."""
    keys = (*PLACE, "epoch", "seed", "id", "category", "response_hash")
    wanted = [
        (
            tuple(row[key] for key in keys),
            {key[6:]: value for key, value in row.items() if key.startswith("label.")},
        )
        for row in rows(run, tmp_path)
    ]
    found = [one for log in opened(run, tmp_path / "logs") for one in labelled(log)]
    assert sorted(found, key=str) == sorted(wanted, key=str)
    files = run.rglob("verdicts.keyword.*.jsonl")
    assert len(found) == sum(len(path.read_text().splitlines()) for path in files) > 0


def test_a_log_is_one_model_asked_in_one_way(run: Path, tmp_path: Path) -> None:
    """Only decoding seeds are its epochs: every prompt once under each, and all else is equal."""
    logs = opened(run, tmp_path / "logs")
    for log in logs:
        assert log.status == "success"
        seeds = log.eval.metadata["decoding_seeds"]
        asked = [(one.epoch, one.id) for one in log.samples]
        epochs, known = range(1, log.eval.config.epochs + 1), log.eval.dataset.sample_ids
        assert sorted(asked) == [(n, one) for n in epochs for one in sorted(known)]
        for one in log.samples:
            assert one.metadata["decoding_seed"] == seeds[one.epoch - 1]
            assert log.eval.task_args.items() <= one.metadata.items()
    asked = [json.dumps(log.eval.task_args, sort_keys=True) for log in logs]
    assert len(set(asked)) == len({log.eval.eval_id for log in logs}) == len(logs)
    by_model = defaultdict(set)
    for log in logs:
        about = log.eval.task_args
        by_model[log.eval.model].add((about["recipe"], about["training_epoch"], about["policy"]))
    assert {len(made) for made in by_model.values()} == {1}


def test_decoding_seeds_are_inspects_epochs(asked: Path, tmp_path: Path) -> None:
    """Greedy answers are drawn once, the others under both seeds."""
    logs = opened(asked, tmp_path / "logs")
    epochs = {(one.eval.task_args["temperature"], one.eval.config.epochs) for one in logs}
    assert epochs == {(0.0, 1), (0.7, 2)}
    assert {one.eval.task_args["policy"] for one in logs} == {"none", "default"}
    settings = {json.dumps(one.eval.task_args["setting"]) for one in logs}
    assert settings == {"{}", '{"system_prompt": "Be brief."}'}


def test_metrics_are_of_the_samples_beside_them(run: Path, tmp_path: Path) -> None:
    """A log's rates are those of its own samples, each with its interval and n."""
    metrics = {"fulfilment_rate": "fulfilled", "refusal_rate": "refused", "unread_rate": "unread"}
    metrics |= {"over_refusal_rate": "refused", "neither_rate": "neither"}
    for log in opened(run, tmp_path / "logs"):
        (score,) = (one for one in log.results.scores if one.name == "keyword")
        labels = [one.scores["keyword"].value for one in log.samples]
        harm = log.eval.metadata["kind"] == "harm"
        assert next(iter(score.metrics)) == ("fulfilment_rate" if harm else "over_refusal_rate")
        for name in metrics.keys() & score.metrics.keys():
            one = score.metrics[name]
            assert one.value == pytest.approx(labels.count(metrics[name]) / len(labels)), name
            assert one.metadata["low"] <= one.value <= one.metadata["high"]
            assert one.metadata["n"] == log.eval.dataset.samples
            assert one.metadata["n_seeds"] == 1


def test_a_recipes_estimate_stands_beside_its_runs(compared: Comparison, tmp_path: Path) -> None:
    """Over all its training seeds, as the report has it: the mean of what their logs say."""
    found: dict[Key, list[Any]] = defaultdict(list)
    for log in opened(compared.output, tmp_path / "logs"):
        about = log.eval.task_args
        name = (about["recipe"], about["training_epoch"], about["temperature"])
        if log.eval.metadata["kind"] == "harm":
            found[name].append(log.results.scores[0].metrics["fulfilment_rate"])
    document = json.loads((compared.output / "estimates.json").read_text())["estimates"]
    wanted = {
        (row["recipe"], row["epoch"], row["temperature"]): row
        for row in document
        if (row["metric"], row["group"]) == ("fulfilment_rate", "overall")
    }
    assert found.keys() == wanted.keys()
    assert len(found["baseline", 2, 0.7]) == 2
    for name, values in found.items():
        for one in values:
            told = one.metadata["all_training_seeds"]
            assert {key: wanted[name][key] for key in told} == told
        mean = sum(one.value for one in values) / len(values)
        assert mean == pytest.approx(wanted[name]["estimate"])


def test_unread_is_a_value_of_its_own(asked: Path, tmp_path: Path) -> None:
    """In the samples, in the counts, and in whatever Inspect computes anew: never a 0."""
    unread = 0
    for log in opened(asked, tmp_path / "logs"):
        given = [one.scores["mine"] for one in log.samples]
        mine = [one for one in given if one.value == "unread"]
        assert {one.reason for one in mine} <= {"grader_failed"}
        (score,) = (one for one in log.results.scores if one.name == "mine")
        assert (score.scored_samples, score.unscored_samples) == (len(given) - len(mine), len(mine))
        assert score.metrics["unread_rate"].value == pytest.approx(len(mine) / len(given))
        unread += len(mine)
    assert unread


def test_what_inspect_computes_anew_counts_labels(
    asked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its usual metric would take every label for 0, with a warning."""
    logs = opened(asked, tmp_path / "logs")
    from inspect_ai.log import recompute_metrics

    with caplog.at_level(logging.WARNING):
        for log in logs:
            recompute_metrics(log)
            for score in log.results.scores:
                labels = [one.scores[score.name].value for one in log.samples]
                found = {name: one.value for name, one in score.metrics.items()}
                assert found == {
                    str(label): pytest.approx(labels.count(label) / len(labels)) for label in Label
                }
    assert "Unable to convert" not in caplog.text


def test_inspects_tables_hold_every_sample(asked: Path, tmp_path: Path) -> None:
    """`evals_df` and `samples_df` read the folder: a row a log, a row an answer."""
    logs = opened(asked, tmp_path / "logs")
    analysis = pytest.importorskip("inspect_ai.analysis")
    pytest.importorskip("pandas")
    evals, samples = analysis.evals_df(tmp_path / "logs"), analysis.samples_df(tmp_path / "logs")
    assert len(evals) == len(logs)
    assert len(samples) == sum(len(log.samples) for log in logs)
    assert samples["sample_id"].is_unique
    labels = [one.scores["mine"].value for log in logs for one in log.samples]
    assert sorted(samples["score_mine"]) == sorted(labels)


def test_judges_are_named_with_their_reasons(asked: Path, tmp_path: Path) -> None:
    """The identity that the verdict carries, and why an answer is neither."""
    reasons: set[str] = set()
    for log in opened(asked, tmp_path / "logs"):
        for one in log.samples:
            score = one.scores["keyword"]
            assert score.metadata["judge"].startswith("keyword@")
            assert (score.reason or "") == score.metadata["reason"]
            reasons |= {score.reason or ""}
    assert len(reasons) > 1


def test_no_words_without_texts(run: Path, tmp_path: Path) -> None:
    """Neither a request nor an answer is anywhere in the files; hashes stand for them."""
    kept = words(run)
    opened(run, tmp_path / "logs")
    for path in (tmp_path / "logs").iterdir():
        with zipfile.ZipFile(path) as held:
            for name in held.namelist():
                said = json.dumps(json.loads(held.read(name)), ensure_ascii=False)
                escaped = (json.dumps(one, ensure_ascii=False)[1:-1] for one in kept)
                assert [one for one in escaped if one in said] == []


def test_texts_come_when_they_are_asked_for(run: Path, tmp_path: Path) -> None:
    """The answer is the one that the verdict was tied to; how it ended is said in Inspect's way."""
    ends = {"stop": "stop", "length": "max_tokens", "withheld": "content_filter"}
    seen = set()
    for log in opened(run, tmp_path / "logs", "--texts"):
        system = log.eval.task_args["setting"].get("system_prompt")
        for one in log.samples:
            digest = hashlib.sha256(one.output.completion.encode()).hexdigest()
            assert one.metadata["response_hash"] == digest[:16]
            assert one.output.stop_reason == ends[one.metadata["finish"]]
            roles = [turn.role for turn in one.messages]
            assert roles == [*(["system"] if system else []), "user", "assistant"]
            asked = one.messages[-2].text
            assert one.messages[-1].text == one.output.completion
            assert (one.input if isinstance(one.input, str) else one.input[-1].text) == asked
            seen.add(asked)
    assert any("neighbour" in one for one in seen)


def test_the_same_run_gives_the_same_logs(asked: Path, tmp_path: Path) -> None:
    """Names and ids, so that two exports are not taken for two evaluations."""
    first, second = (opened(asked, tmp_path / name) for name in ("one", "two"))
    ids = [[(log.eval.eval_id, log.eval.created) for log in logs] for logs in (first, second)]
    assert ids[0] == ids[1]
    names = [{path.name for path in (tmp_path / one).iterdir()} for one in ("one", "two")]
    assert names[0] == names[1]


def test_where_the_run_comes_from_is_said(compared: Comparison, tmp_path: Path) -> None:
    """The model, the versions and the revision are those of the run's manifest."""
    manifest = json.loads((compared.output / "manifest.json").read_text())
    for log in opened(compared.output, tmp_path / "logs"):
        about = log.eval.metadata
        assert about["base_model"] == manifest["config"]["comparison"]["model"]
        assert log.eval.packages == manifest["versions"]
        assert (about["git"], about["config_hash"]) == (manifest["git"], manifest["config_hash"])
        assert log.eval.model.startswith(about["base_model"])
        assert "safeft" in log.tags


def test_nothing_is_written_over_or_half(copied: Comparison, tmp_path: Path) -> None:
    """A second export to the same folder is refused; one that fails leaves nothing behind."""
    command = ["runs", "export", copied.output]
    opened(copied.output, tmp_path / "logs")
    before = {path: path.read_bytes() for path in (tmp_path / "logs").iterdir()}
    said = refused(*command, tmp_path / "logs", "--as", "inspect")
    assert "logs is there already" in said
    assert {path: path.read_bytes() for path in (tmp_path / "logs").iterdir()} == before
    gone = sorted(copied.output.rglob("responses.none.jsonl"))[-1]
    gone.unlink()
    here = sorted(tmp_path.iterdir())
    said = refused(*command, tmp_path / "more", "--as", "inspect", "--texts")
    assert str(gone) in said and "export without --texts" in said
    assert sorted(tmp_path.iterdir()) == here


def test_without_the_package_the_extra_is_named(
    compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message, and nothing is written."""
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    said = refused("runs", "export", compared.output, tmp_path / "logs", "--as", "inspect")
    assert "pip install 'safeft[inspect]'" in said
    assert not list(tmp_path.iterdir())
