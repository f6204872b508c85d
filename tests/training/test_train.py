"""Laws of training: what it leaves, that it repeats to the bit, and that a kill changes nothing."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import Command, call, done, refused, stall_at_first_checkpoint

from safeft.data import Example
from safeft.errors import DataError
from safeft.runs import read_json, write_json
from safeft.training import Trained, finished, load_recipe, train
from safeft.training.advice import evidence
from safeft.training.methods.self_generated import SelfGenerated
from training.conftest import Job, chats

WEIGHTS = "adapter_model.safetensors"


def weights(output: Path, epoch: int = 2) -> bytes:
    """The bytes of an epoch's adapter."""
    return (output / f"adapter/epoch-{epoch}" / WEIGHTS).read_bytes()


def test_one_adapter_for_each_epoch(trained: Path) -> None:
    """In order, loadable by PEFT, and each epoch has moved the weights."""
    from peft import PeftConfig

    found = finished(trained).adapters
    assert [path.name for path in found] == ["epoch-1", "epoch-2"]
    assert weights(trained, 1) != weights(trained, 2)
    for path in found:
        assert PeftConfig.from_pretrained(str(path)).r == 4


def test_nothing_is_left_that_only_a_resume_needs(trained: Path) -> None:
    """The optimizer's states outweigh the adapters; no partial file stays behind."""
    left = {path.name for path in trained.iterdir()}
    assert left == {".lock", "adapter", "cost.json", "log.json", "manifest.json", "train.json"}


def test_the_seed_decides_the_weights(trained: Path, job: Job, tmp_path: Path) -> None:
    """The same seed gives the same bytes in another folder, another seed gives others."""
    done(*job.arguments(tmp_path / "same", "--seed", 0))
    done(*job.arguments(tmp_path / "other", "--seed", 1))
    assert weights(tmp_path / "same", 1) == weights(trained, 1)
    assert weights(tmp_path / "same") == weights(trained)
    assert weights(tmp_path / "other") != weights(trained)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, job: Job) -> Path:
    """The output of a training that was killed with -9 after its first checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    output = folder / "run"
    command = Command(job.arguments(output), folder / "log", stall_at_first_checkpoint)
    command.until((output / "cost.partial.json").is_file)
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL
    return output


def test_after_kill_9_the_same_command_ends_with_the_same_weights(
    killed: Path, trained: Path, job: Job, tmp_path: Path
) -> None:
    """To the bit, for each epoch, and the cost of both attempts adds up."""
    assert not (killed / "adapter").exists()
    output = shutil.copytree(killed, tmp_path / "run")
    first = read_json(output / "cost.partial.json")
    write_json(output / "cost.partial.json", first | {"seconds": 1000.0})
    done(*job.arguments(output))
    assert [weights(output, epoch) for epoch in (1, 2)] == [weights(trained, 1), weights(trained)]
    cost, whole = read_json(output / "cost.json"), read_json(trained / "cost.json")
    assert cost["seconds"] > 1000
    assert cost["tokens"] == whole["tokens"] == 2 * first["tokens"]
    assert read_json(output / "train.json") == read_json(trained / "train.json")


@pytest.mark.parametrize("damage", ["state cut short", "no state", "empty folder"])
def test_a_checkpoint_that_the_kill_cut_short_is_not_used(
    killed: Path, trained: Path, job: Job, tmp_path: Path, damage: str
) -> None:
    """The training goes on from what is whole before it, to the same weights."""
    output = shutil.copytree(killed, tmp_path / "run")
    checkpoint = output / "checkpoints/checkpoint-4"
    state = (checkpoint / "trainer_state.json").read_text()
    if damage == "empty folder":
        shutil.rmtree(checkpoint)
        checkpoint.mkdir()
    else:
        (checkpoint / "trainer_state.json").unlink()
    if damage == "state cut short":
        (checkpoint / "trainer_state.json").write_text(state[:100])
    done(*job.arguments(output))
    assert weights(output) == weights(trained)


def test_half_a_collection_is_made_again(
    killed: Path, trained: Path, job: Job, tmp_path: Path
) -> None:
    """What a kill left between the last step and the last file is neither trusted nor kept."""
    output = shutil.copytree(killed, tmp_path / "run")
    for name in ("adapter/epoch-1", "adapter/epoch-9", "adapter.partial/epoch-1"):
        (output / name).mkdir(parents=True)
    done(*job.arguments(output))
    assert weights(output) == weights(trained)
    assert [path.name for path in finished(output).adapters] == ["epoch-1", "epoch-2"]
    assert not (output / "adapter.partial").exists()


def test_a_finished_output_is_returned_and_not_trained_again(
    trained: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command again loads no model and touches no file but the lock."""
    module = sys.modules["safeft.training.train"]  # the package calls its function by that name
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.name != ".lock"}
    monkeypatch.setattr(module, "weights_of", lambda *_: pytest.fail("a model is loaded"))
    said = done(*job.arguments(trained)).out
    after = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.name != ".lock"}
    assert after == before
    assert f"adapters: {trained}/adapter/epoch-1, {trained}/adapter/epoch-2" in said


def test_checkpoints_that_a_kill_left_in_a_finished_output_go(trained: Path, job: Job) -> None:
    """Killed between the last file and the clean-up, the next call cleans up."""
    (trained / "checkpoints/checkpoint-4").mkdir(parents=True)
    done(*job.arguments(trained))
    assert not (trained / "checkpoints").exists()


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (["--set", "lora.r=2"], "recipe.lora"),
        (["--seed", "5"], "seed"),
        (["--rows", "8"], "data_fingerprint"),
    ],
)
def test_another_run_in_the_same_output_is_refused(
    trained: Path, job: Job, more: list[str], key: str
) -> None:
    """By what differs; nothing of the finished run is touched."""
    before = weights(trained)
    said = refused(*job.arguments(trained, *more))
    assert f"holds another run (differs in: {key})" in said
    assert "choose another --output or delete the folder" in said
    assert weights(trained) == before


def trained_on(
    examples: list[Example], job: Job, output: Path, store: Path | None = None, **changes: Any
) -> Trained:
    """What `train` returns for the small recipe with one epoch and other values."""
    recipe = load_recipe(str(job.recipe), ["trainer.num_train_epochs=1"]).model_copy(update=changes)
    model = str(job.model)
    return train(
        recipe, model=model, examples=examples, seed=0, output=output, store=store, quiet=True
    )


def test_rows_without_a_trained_token_are_counted_and_left_out(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A prompt that fills max_length leaves nothing to learn: it is said, and costs no tokens."""
    examples = chats([("Short?", "Yes."), ("long " * 40, "Never seen."), ("Short too?", "Yes.")])
    result = trained_on(examples, job, tmp_path / "run", max_length=48)
    rows = result.facts["rows"]
    assert (rows["rows"], rows["truncated"], rows["fully_masked"]) == (3, 1, 1)
    assert result.facts["cost"]["tokens"] == rows["tokens"] - 48
    assert "1 rows are fully masked, the first is rows, row 2" in caplog.text


def test_nothing_to_train_on_is_an_error(job: Job, tmp_path: Path) -> None:
    """All rows fully masked: the message says which number to change, and nothing is left."""
    with pytest.raises(DataError, match=r"all 2 rows are fully masked.*within 8 tokens; raise max"):
        trained_on(chats([("A?", "B."), ("C?", "D.")]), job, tmp_path / "run", max_length=8)
    assert not (tmp_path / "run/checkpoints").exists()


def test_rows_are_cut_at_the_models_context(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A max_length above the context would train positions that the model does not have."""
    examples = chats([("Long?", "word " * 100), ("Short?", "Yes.")])
    result = trained_on(examples, job, tmp_path / "run", max_length=4096)
    assert result.facts["rows"]["truncated"] == 1
    assert result.facts["rows"]["tokens"] < 256 + 64
    assert "1 rows are cut at 256 tokens, the model's context: max_length 4096" in caplog.text


def test_a_system_turn_and_several_answers_are_trained(job: Job, tmp_path: Path) -> None:
    """Chats of any shape reach the trainer with all their answers."""
    from safeft.records import Message

    turns = [("system", "Be brief."), ("user", "A?"), ("assistant", "B."), ("user", "C?")]
    chat = tuple(Message(*turn) for turn in [*turns, ("assistant", "D.")])
    rows = trained_on([Example(chat, 1, "rows")] * 4, job, tmp_path / "run").facts["rows"]
    assert rows["rows"] == 4
    assert rows["supervised"] % 4 == 0


def test_plain_texts_are_trained_in_full(job: Job, tmp_path: Path) -> None:
    """A document has no prompt to mask."""
    rows = trained_on([Example((), 1, "rows", "Once.")] * 4, job, tmp_path / "run").facts["rows"]
    assert rows["tokens"] == rows["supervised"]


def test_the_models_own_words_are_written_once_and_trained(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notes are in the facts; a second training that shares the store writes nothing."""
    own = {"methods": [SelfGenerated(name="self_generated", max_new_tokens=8)]}
    examples = chats([(f"Plant {n}?", "Water it.") for n in range(4)])
    first = trained_on(examples, job, tmp_path / "one", **own)
    assert first.facts["methods"]["self_generated"]["rows"] == 4
    (written,) = (tmp_path / "one").glob("written-*.jsonl")
    assert len(written.read_text().splitlines()) == 4
    module = sys.modules["safeft.training.train"]
    monkeypatch.setattr(module, "generator_of", lambda *_: pytest.fail("text is written again"))
    again = trained_on(examples, job, tmp_path / "two", tmp_path / "one", **own)
    assert weights(tmp_path / "two", 1) == weights(tmp_path / "one", 1)
    assert again.facts["methods"] == first.facts["methods"]
    spent = [facts["cost"]["generation_seconds"] for facts in (first.facts, again.facts)]
    assert spent[0] == spent[1] > 0
    card = (first.adapters[0] / "README.md").read_text()
    assert "s in which the model wrote its own" in card
    assert f"- `self_generated`: {evidence()['self_generated']}\n" in card


def test_the_card_says_what_made_the_adapter(trained: Path) -> None:
    """Recipe, data fingerprint, seed, cost and versions travel with every adapter."""
    import torch

    facts = finished(trained).facts
    for epoch in (1, 2):
        card = (trained / f"adapter/epoch-{epoch}/README.md").read_text()
        assert f"# small, epoch {epoch}\n" in card
        assert f"fingerprint {facts['data_fingerprint'][:12]}, 16 rows" in card
        assert "training seed 0" in card
        assert f"{facts['cost']['tokens']} tokens" in card
        assert f"torch {torch.__version__}" in card
        assert "learning_rate: 0.01" in card
        assert "What is known" not in card
    assert re.match(r"---\nbase_model: \S+\nlibrary_name: peft\n", card)


def test_the_log_holds_the_losses(trained: Path) -> None:
    """Every logged loss is a number that JSON knows."""
    log = json.loads((trained / "log.json").read_text())
    assert any(entry.get("loss", 0) > 0 for entry in log)


def test_broken_rows_are_refused_or_skipped_and_named(job: Job, tmp_path: Path) -> None:
    """Skipping is the user's word; how many were left out is said."""
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "A?", "completion": "B."}\n{"prompt": "C?", "completion": ""}\n')
    mine = Job(job.recipe, data, job.model)
    assert "row 2, field 'completion': is empty" in refused(*mine.arguments(tmp_path / "no"))
    result = done(*mine.arguments(tmp_path / "yes", "--skip-broken"))
    assert "1 broken rows left out" in result.err
    assert "row 2, field 'completion'" in result.err
    assert finished(tmp_path / "yes").facts["rows"]["rows"] == 1


def test_when_two_formats_fit_the_option_decides(job: Job, tmp_path: Path) -> None:
    """Ambiguous rows are refused with the names to choose from, and `--format` chooses."""
    data = tmp_path / "rows.jsonl"
    row = {"instruction": "A?", "output": "out", "response": "answer"}
    data.write_text(json.dumps(row) + "\n")
    mine = Job(job.recipe, data, job.model)
    assert "name the format (alpaca or dolly)" in refused(*mine.arguments(tmp_path / "no"))
    assert "did you mean" in refused(*mine.arguments(tmp_path / "no", "--format", "dollie"))
    assert "format dolly" in done(*mine.arguments(tmp_path / "yes", "--format", "dolly")).out


def test_a_second_process_in_the_same_output_is_refused(
    trained: Path, job: Job, tmp_path: Path
) -> None:
    """Two trainings in one folder would write each other's checkpoints; a finished one is read."""
    from safeft.runs import locked

    with locked(tmp_path / "run"):
        said = call(*job.arguments(tmp_path / "run")).err
        assert "another process is working in it" in said
    with locked(trained):
        assert call(*job.arguments(trained)).code == 0
