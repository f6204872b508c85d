"""Laws of tuning at a provider: what is sent, what is kept, and that nothing is made twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hosted import Provider, status

from safeft.data import examples, load
from safeft.errors import (
    ConfigError,
    DataError,
    ModelError,
    RunError,
    SafeftError,
    StoredError,
    UserError,
)
from safeft.records import Message
from safeft.runs import read_json, read_lines
from safeft.training.hosted import Tuned
from training.conftest import chats
from training.hosted.conftest import ROWS, Run

NAME = "ft:gpt-4o-mini-2024-07-18:org::0"


def test_the_whole_way(run: Run, server: Provider, tmp_path: Path) -> None:
    """One upload of the recipe's rows, one job, and the names of what came of it."""
    tuned = run()
    assert tuned.model == NAME
    assert tuned.checkpoints == (f"{NAME}:step-10", f"{NAME}:step-20")
    (file,) = server.files.values()
    assert file["purpose"] == "fine-tune"
    assert file["content"] == (tmp_path / "run/training.jsonl").read_text()
    sent = [json.loads(line) for line in file["content"].splitlines()]
    first = [{"role": "user", "content": "Plant 0?"}]
    first += [{"role": "assistant", "content": "Water it 0 times."}]
    assert (len(sent), sent[0]) == (12, {"messages": first})
    assert server.calls["POST files"] == server.calls["POST jobs"] == 1


def test_train_json_and_cost_json_say_what_the_provider_counted(run: Run, tmp_path: Path) -> None:
    """Ids, seed, trained tokens, seconds of the job; each checkpoint with its metrics."""
    run()
    facts, cost = read_json(tmp_path / "run/train.json"), read_json(tmp_path / "run/cost.json")
    assert (facts["fine_tuned_model"], facts["seed"], facts["model"]) == (NAME, 7, NAME[3:25])
    assert facts["hosted"]["trained_tokens"] == cost["tokens"] == 1234
    assert cost["seconds"] == 60
    assert [(one["step"], one["metrics"]["train_loss"]) for one in facts["checkpoints"]] == [
        *((10, 0.1), (20, 0.05))
    ]


def test_the_recipes_epochs_and_the_seed_are_asked(run: Run, server: Provider) -> None:
    """Of a recipe only they mean the same elsewhere; nothing of TRL's or PEFT's is sent."""
    run(overrides=["trainer.num_train_epochs=2"])
    (request,) = server.requests
    assert request["seed"] == 7
    supervised = {"hyperparameters": {"n_epochs": 2}}
    assert request["method"] == {"type": "supervised", "supervised": supervised}
    assert set(request) == {"model", "training_file", "seed", "method", "metadata"}


def test_what_the_job_is_asked_besides_goes_through_untouched(run: Run, server: Provider) -> None:
    """Known to safeft or not, and over the recipe's own epochs."""
    own = {"n_epochs": "auto", "learning_rate_multiplier": 0.5, "of_tomorrow": [1]}
    run(hyperparameters=own, suffix="garden", arguments={"validation_file": "file-v"})
    (request,) = server.requests
    assert request["method"]["supervised"]["hyperparameters"] == own
    assert (request["suffix"], request["validation_file"]) == ("garden", "file-v")


def test_what_the_server_refuses_is_its_own_word(run: Run, server: Provider) -> None:
    """An unknown hyper-parameter: the server's message, and no second attempt."""
    refusal = status(400, "Unknown parameter: 'depth'.")
    server.broken = lambda desk, call, _: call == "POST jobs" and refusal(desk)
    with pytest.raises(ModelError, match=r"the job: .*Unknown parameter: 'depth'.*--job-set"):
        run(hyperparameters={"depth": 3})
    assert server.calls["POST jobs"] == 1
    server.broken = lambda *_: False
    with pytest.raises(RunError, match=r"holds another run \(differs in: job.hyperparameters\)"):
        run()


def test_the_model_writes_its_own_answers_at_the_endpoint(
    run: Run, server: Provider, told: list[str]
) -> None:
    """Self-generated rows are the API model's own, asked for once each, and it is said before."""
    tuned = run("self_generated", endpoint={"concurrency": 4})
    assert f"itself is asked of {server.url}; the prompts are sent there" in told[0]
    (file,) = server.files.values()
    answers = [json.loads(line)["messages"][-1]["content"] for line in file["content"].splitlines()]
    assert answers == [f"echo: Plant {n}?" for n in range(12)]
    assert tuned.facts["methods"]["self_generated"]["self_generated"] == 12
    assert set(server.seen.values()) == {1}
    assert tuned.facts["cost"]["generation_tokens"] == 24
    assert {body["model"] for body in server.bodies} == {"gpt-4o-mini-2024-07-18"}


def test_paid_answers_are_kept_as_they_come(run: Run, server: Provider) -> None:
    """A failure in the middle loses none: the same command asks for the others alone."""
    server.fault = lambda desk, text, _: text == "Plant 9?" and status(500, "down")(desk)
    with pytest.raises(SafeftError, match="run the same command again"):
        run("self_generated", endpoint={"retries": 0, "concurrency": 1})
    assert len(server.seen) == 12
    server.fault = lambda *_: False
    run("self_generated", endpoint={"retries": 0, "concurrency": 1})
    assert {text for text, times in server.seen.items() if times > 1} == {"Plant 9?"}


def test_where_the_data_go_and_what_it_costs_is_told_once_and_before(
    run: Run, server: Provider, told: list[str]
) -> None:
    """By characters, said as such, times the epochs; a run that goes on does not repeat it."""
    server.broken = lambda desk, call, _: call == "POST files" and status(401, "no")(desk)
    with pytest.raises(ModelError):
        run(price=3e5)
    tokens = sum(2 * 3 + 9 // 4 + len(f"Water it {n} times.") // 4 for n in range(12))
    assert not server.files
    assert told[0] == (
        f"12 rows, about {tokens} tokens (estimated: four characters each) × 5 epochs = "
        f"{5 * tokens} trained tokens, about ${5 * tokens * 0.3:,.2f}"
    )
    assert f"is sent to {server.url} and stays there until you delete it there" in told[1]
    server.broken = lambda *_: False
    run()
    assert sum("is sent to" in line for line in told) == 1


def test_epochs_that_the_provider_chooses_have_no_total(run: Run, told: list[str]) -> None:
    """`auto` is no number to multiply by."""
    run(hyperparameters={"n_epochs": "auto"})
    assert "in each epoch; how many epochs is the provider's choice" in told[0]


def test_a_finished_run_asks_nothing(run: Run, server: Provider) -> None:
    """The same command again reads the names from the disk."""
    first = run()
    calls = server.calls.copy()
    assert run() == first
    assert server.calls == calls


def test_another_run_in_the_same_output_is_refused(run: Run, server: Provider) -> None:
    """By what differs; a price is no part of a run."""
    run(price=1.0)
    assert isinstance(run(price=2.0), Tuned)
    with pytest.raises(RunError, match="differs in: data_fingerprint"):
        run(examples=ROWS[:11])
    assert len(server.jobs) == 1


def test_a_run_of_its_own_for_each_output(run: Run, server: Provider) -> None:
    """Two runs of one command in two folders are two jobs over two files."""
    assert run().model != run(output="other").model
    assert len(server.files) == len(server.jobs) == 2


def test_too_few_rows_and_plain_texts_are_refused_before_anything_is_sent(
    run: Run, server: Provider
) -> None:
    """OpenAI takes ten at least; the same folder then takes the right command."""
    with pytest.raises(DataError, match="9 rows, but OpenAI's fine-tuning takes at least 10"):
        run(examples=ROWS[:9])
    assert not server.calls
    run()


def test_the_training_file_reads_back(run: Run, tmp_path: Path) -> None:
    """As what was given, system turns and several answers included."""
    turns = [("system", "Be brief."), ("user", "A?"), ("assistant", "B\u2028."), ("user", "C?")]
    chat = (*(Message(*turn) for turn in turns), Message("assistant", "Ü."))
    given = [*ROWS, *chats([("x", "y")])]
    given[-1] = given[-1].__class__(chat, 13, "rows")
    run(examples=given)
    back = examples(load(str(tmp_path / "run/training.jsonl")))
    assert [one.messages for one in back] == [one.messages for one in given]


def test_rows_that_were_changed_on_disk_are_not_sent(
    run: Run, server: Provider, tmp_path: Path
) -> None:
    """What is uploaded is what the manifest and the notes speak of."""
    server.broken = lambda desk, call, _: call == "POST files" and status(401, "no")(desk)
    with pytest.raises(ModelError):
        run()
    server.broken = lambda *_: False
    (tmp_path / "run/training.jsonl").write_text("{}\n")
    with pytest.raises(StoredError, match=r"was changed since .*; delete .*build.json"):
        run()
    (tmp_path / "run/build.json").unlink()
    run()
    assert [one["content"].count("\n") for one in server.files.values()] == [12]


def test_a_job_whose_file_is_refused_is_the_users_to_mend(run: Run, server: Provider) -> None:
    """The provider's reason; the events until then are kept, and asking again starts no job."""
    server.outcome = "failed"
    for _ in range(2):
        with pytest.raises(DataError, match=r"failed: Row 3 has no answer. \(training_file"):
            run()
    assert len(server.jobs) == 1


def test_a_job_that_fails_otherwise_is_no_mistake_of_the_user(run: Run, server: Provider) -> None:
    """Exit code 1, and how to start another."""
    server.outcome, server.error = "failed", {"code": "x", "message": "Oh.", "param": None}
    with pytest.raises(SafeftError, match=r"failed: Oh.; choose another --output") as caught:
        run()
    assert not isinstance(caught.value, UserError)


def test_a_cancelled_job_is_said(run: Run, server: Provider) -> None:
    """Whoever cancelled it."""
    server.outcome = "cancelled"
    with pytest.raises(RunError, match="job ftjob-0 was cancelled; choose another --output"):
        run()


def test_a_server_without_checkpoints_will_do(run: Run, server: Provider) -> None:
    """Compatible servers have the jobs and not always these."""
    server.keeps_checkpoints = False
    assert run().checkpoints == ()


def test_the_events_are_kept_in_order_and_told(run: Run, told: list[str], tmp_path: Path) -> None:
    """Each once; a diverged loss is null, which JSON knows, and of metrics the newest is told.

    What would clear the terminal is told without its power.
    """
    run()
    kept = read_lines(tmp_path / "run/events.jsonl")
    assert [one["id"] for one in kept] == [f"ftevent-{n}" for n in range(8)]
    assert kept[5]["data"]["train_loss"] is None
    said = [line.partition(" ")[2] for line in told if line.startswith("00:01:4")]
    assert [line for line in said if "now" in line] == [
        *("now validating_files", "now queued\ufffd[2J", "now running", "now succeeded")
    ]


def test_without_a_key_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine needs one, and is not asked before."""
    from safeft.training.hosted import Provider as Client

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="set the environment variable OPENAI_API_KEY"):
        Client("https://api.openai.com/v1")


def test_the_key_is_sent_and_written_nowhere(
    run: Run, server: Provider, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not into a file, not into what is told, not into an error."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.broken = lambda desk, call, n: call == "POST jobs" and n == 1 and status(401, "no")(desk)
    with pytest.raises(ModelError) as caught:
        run()
    run()
    assert server.keys == {"Bearer sk-secret"}
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert "sk-secret" not in "".join([*texts, *told, str(caught.value)])


def test_a_recipe_that_needs_the_weights_is_refused_before_anything_is_sent(
    run: Run, server: Provider, tmp_path: Path
) -> None:
    """By the method and the reason; the folder is not begun."""
    with pytest.raises(ConfigError, match="recipe lisa: lisa changes the loss: rows alone cannot"):
        run("lisa")
    assert not server.calls
    assert not (tmp_path / "run").exists()
