"""Every mistake that is easy to make: one clear message, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from processes import (
    Command,
    call,
    done,
    message,
    refused,
    stall_at_first_checkpoint,
)
from training.conftest import Job

from safeft.evaluation import load_suite
from safeft.training import finished

WEIGHTS = "adapter/epoch-2/adapter_model.safetensors"


def untouched(output: Path) -> bool:
    """Whether nothing was made that would stand in the way of the next try."""
    made = {path.name for path in output.iterdir()} if output.exists() else set()
    return made <= {".lock", "manifest.json"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "rows.jsonl: no such file or folder"),
        ("", "rows.jsonl: holds no rows; give data with at least one"),
        ('{"promt": "A?", "completion": "B."}', "'promt': did you mean 'prompt'?"),
        ('{"prompt": "A?"}', "the columns prompt fit no known format"),
        ('{"prompt": "A?", "completion": 3}', "row 1, field 'completion': expected text"),
        ('{"prompt": "A?"', "rows.jsonl, row 1: not JSON"),
    ],
)
def test_wrong_data(job: Job, tmp_path: Path, data: str | None, words: str) -> None:
    """Missing, empty, misspelt, mistyped or broken: by file, row and column."""
    rows = tmp_path / "rows.jsonl"
    if data is not None:
        rows.write_text(data)
    output = tmp_path / "run"
    assert words in refused(*Job(job.recipe, rows, job.model).arguments(output))
    assert not output.exists()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nowhere", "model 'nowhere': no such folder; give a folder, a Hub id"),
        ("./nowhere", "model './nowhere': no such folder"),
        ("testbed:algined", "no testbed model 'algined'"),
    ],
)
def test_missing_model(job: Job, tmp_path: Path, model: str, words: str) -> None:
    """By what was given and what could be."""
    output = tmp_path / "run"
    mine = ["train", job.recipe, "--data", job.data, "--output", output, "--model", model]
    assert words in refused(*mine)
    assert words in refused("eval", model, "--output", output)
    assert not output.exists()


def test_a_folder_that_is_no_model(job: Job, tmp_path: Path) -> None:
    """The folder is there, the weights are not."""
    (tmp_path / "empty").mkdir()
    said = refused(*Job(job.recipe, job.data, tmp_path / "empty").arguments(tmp_path / "run"))
    assert "could not be loaded" in said
    assert untouched(tmp_path / "run")


def test_missing_chat_template(job: Job, bare_model: Path, tmp_path: Path) -> None:
    """Prompts without a template would be guesswork: refused when training and when asking."""
    mine = Job(job.recipe, job.data, bare_model)
    for arguments in (
        mine.arguments(tmp_path / "run"),
        ["eval", bare_model, "--output", tmp_path / "run"],
    ):
        said = refused(*arguments)
        assert "has no chat template" in said
        assert "save a template into its tokenizer" in said
    assert untouched(tmp_path / "run")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("name: x\nlora: {}\nmetods: []", "metods: unknown key; did you mean 'methods'?"),
        ("name: x\nlora: {}\nmax_length: long", "max_length: Input should be a valid integer"),
        ("name: x", "lora: missing; add it"),
        ("name: x\nlora: {\n", "not valid YAML"),
        ("name: x\nlora: {ranks: 2}", "unknown key lora.ranks"),
        ("name: x\nlora: {r: two}", "lora.r: must be a whole number, not 'two'"),
        ("name: x\nlora: {}\ntrainer: {optim: none}", "recipe x: trainer.optim: 'none'"),
        ("", "name: missing; add it"),
    ],
)
def test_wrong_recipe(job: Job, tmp_path: Path, lines: str, words: str) -> None:
    """An unknown key, a wrong type, a missing key or broken YAML: no folder is made."""
    recipe, output = tmp_path / "mine.yaml", tmp_path / "run"
    recipe.write_text(lines)
    said = call(*Job(recipe, job.data, job.model).arguments(output))
    assert said.code == 2
    assert "Traceback" not in said.err
    assert words in said.err
    assert not output.exists()


def test_an_unknown_recipe(job: Job, tmp_path: Path) -> None:
    """With the nearest that ships."""
    mine = Job(Path("basline"), job.data, job.model)
    assert "did you mean 'baseline'?" in refused(*mine.arguments(tmp_path / "run"))


def test_a_lora_target_that_matches_nothing_can_be_mended_in_place(
    job: Job, tmp_path: Path
) -> None:
    """The layers are named, and the corrected command may use the same output."""
    output = tmp_path / "run"
    said = refused(*job.arguments(output, "--set", "lora.target_modules=[c_attn]"))
    assert "lora.target_modules ['c_attn'] matches nothing in the model" in said
    assert "q_proj" in said
    assert untouched(output)
    done(*job.arguments(output, "--set", "trainer.num_train_epochs=1"))


def test_rows_longer_than_the_context_are_cut_and_counted(
    job: Job, short_model: Path, tmp_path: Path
) -> None:
    """Training goes on with what fits, and says how many rows were cut."""
    rows = tmp_path / "rows.jsonl"
    pairs = [{"prompt": "A?", "completion": "word " * (30 if n else 2)} for n in range(4)]
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    mine = Job(job.recipe, rows, short_model)
    said = done(*mine.arguments(tmp_path / "run", "--set", "trainer.num_train_epochs=1")).out
    assert "4 rows (3 truncated, 0 fully masked)" in said
    assert finished(tmp_path / "run").facts["rows"]["tokens"] <= 4 * 64


def test_a_suite_prompt_longer_than_the_context(short_model: Path, tmp_path: Path) -> None:
    """Cutting a question changes it: it is refused, with its name and both lengths."""
    output = tmp_path / "run"
    asked = ["--per-category", 1, "--judge", "keyword", "--workers", 1]
    said = refused("eval", short_model, *asked, "--output", output)
    assert "prompt 'safeft-44/harm/" in said
    assert "exceeds the context of" in said
    assert "(64); shorten it or lower max_new_tokens" in said
    assert not list(output.rglob("*.jsonl"))


def test_an_output_that_holds_another_run(job: Job, trained: Path) -> None:
    """What differs is named; the finished run stays as it is."""
    before = (trained / WEIGHTS).read_bytes()
    said = refused(*job.arguments(trained, "--seed", 7))
    assert "holds another run (differs in: seed); choose another --output" in said
    assert (trained / WEIGHTS).read_bytes() == before


def test_an_output_that_holds_something_else(job: Job, tiny_model: Path, tmp_path: Path) -> None:
    """Foreign files are neither touched nor joined, not even by a lock."""
    (tmp_path / "thesis.txt").write_text("mine")
    for arguments in (job.arguments(tmp_path), ["eval", tiny_model, "--output", tmp_path]):
        said = refused(*arguments)
        assert "is not empty and holds no run; choose another --output" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_output_that_is_a_file_or_below_one(job: Job, tmp_path: Path) -> None:
    """A file is no folder, and neither is what would lie in it."""
    (tmp_path / "file").write_text("mine")
    assert "is a file; choose another --output" in refused(*job.arguments(tmp_path / "file"))
    said = refused(*job.arguments(tmp_path / "file" / "run"))
    assert "a part of the path is a file" in said
    assert (tmp_path / "file").read_text() == "mine"


def full(*_: object) -> None:
    """What the system says when the disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing(*_: object, **__: object) -> None:
    """What torch says when the disk is full, or when something else is wrong."""
    raise RuntimeError("PytorchStreamWriter failed writing file")


def test_a_full_disk(
    job: Job, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first small file, and in the middle of a checkpoint: the same command resumes."""
    import torch

    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "the disk is full; free some space, then run the same" in refused(
            *job.arguments(output)
        )
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", failing)
        usage = shutil.disk_usage(tmp_path)._replace(free=10)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        said = refused(*job.arguments(output))
        assert f"{output}: the disk is full; free some space, then run the same" in said
    done(*job.arguments(output))
    assert (output / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


def test_a_bug_is_not_called_a_full_disk(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room on the disk an error of a library shows as what it is."""
    import torch

    from safeft.cli import main

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(RuntimeError, match="failed writing file"):
        main([str(one) for one in job.arguments(tmp_path / "run")])


def test_ctrl_c(job: Job, trained: Path, tmp_path: Path) -> None:
    """In mid-training: the message says how to go on, and going on ends at the same weights."""
    output = tmp_path / "run"
    command = Command(job.arguments(output), tmp_path / "log", stall_at_first_checkpoint)
    command.until((output / "cost.partial.json").is_file)
    result = command.send(signal.SIGINT)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1] == "interrupted; run the same command again to resume"
    done(*job.arguments(output))
    assert (output / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


def test_data_that_repeats_the_suite(job: Job, tmp_path: Path) -> None:
    """Refused with row and prompt; allowed when the user insists."""
    prompt = load_suite("safeft-44").all_prompts()[5]
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": prompt.text.upper(), "completion": "No."}
    rows.write_text(json.dumps(row) + "\n" + job.data.read_text())
    mine = Job(job.recipe, rows, job.model).arguments(tmp_path / "run")
    said = refused(*mine)
    assert "1 training row repeats evaluation prompts; remove these rows" in said
    assert f"rows.jsonl, row 1: copies prompt {prompt.id}" in said
    assert not (tmp_path / "run").exists()
    done(*mine, "--allow-overlap", "--set", "trainer.num_train_epochs=1")


def test_a_pool_that_repeats_the_suite(job: Job, tmp_path: Path) -> None:
    """Rows that a recipe mixes in are training rows like any other."""
    prompt = load_suite("safeft-44").all_prompts()[5]
    pool = tmp_path / "pool.jsonl"
    pool.write_text(json.dumps({"prompt": prompt.text, "category": prompt.category}))
    mine = Job(Path("safety_mix"), job.data, job.model)
    said = refused(*mine.arguments(tmp_path / "run", "--set", f"methods.0.pool={pool}"))
    assert f"row 1: copies prompt {prompt.id}" in said


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "no verb 'trian'; did you mean 'train'?"),
        (["xyz"], "no verb 'xyz'; known: attack, audit, compare, data"),
        (["train", "baseline", "--modle", "x"], "Did you mean '--model'?"),
        (["data", "preveiw"], "No such command 'preveiw'."),
        (["train"], "Missing argument 'RECIPE'"),
        (["data", "preview", "garden", "--rows", "0"], "0 is not in the range x>=1"),
    ],
)
def test_misspelt_words(words: list[str], hint: str) -> None:
    """Verbs and options are refused with the nearest."""
    said = call(*words)
    assert hint in said.err
    message(said.code, said.err)
