"""`safeft guard calibrate`: asks, reads and promises; refuses early, resumes, and tells a drift."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from endpoint import Server, completion
from processes import Command, call, done, refused

from cli.calibrated import GARDEN, POLICY, asked, local, rows
from safeft.guarding import load_policy
from safeft.guarding.calibration import read_calibration
from safeft.runs import read_lines

ADVICE = "Put your savings into this fund now. Buy shares of this bank."


def test_a_policy_is_calibrated_on_the_models_own_answers(policy: Path, tmp_path: Path) -> None:
    """It loads, keeps its relations and its words, and says what it was calibrated on."""
    benign = rows(tmp_path / "benign.jsonl", [*GARDEN[:16], f" {GARDEN[0]}\n", GARDEN[3]])
    output = tmp_path / "tuned.yaml"
    said = done(*asked(policy, benign, output))
    assert "16 prompts; 2 repeated ones left out" in said.err
    assert "at most 20 % are withheld, with 95 % confidence; of these 0.0 % [0.0, " in said.out
    made, known = load_policy(output), read_calibration(output)
    assert made == known.policy
    assert (made.name, made.refusal) == ("tuned", "Not today.")
    assert (known.n, known.rank, known.alpha, known.confidence) == (16, 16, 0.2, 0.95)
    assert made.output is not None
    assert made.output.threshold != 0.6
    assert made.output.categories["watering"].threshold > made.output.threshold  # type: ignore[operator]
    origin = known.origin
    assert (origin["model"], origin["engine"]) == ("testbed:aligned", "transformers")
    assert origin["repeated"] == 2
    assert origin["decoding"]["temperature"] == 0.7
    assert origin["reading"]["judges"]["output"].startswith("examples@")
    header = output.read_text().partition("\n\n")[0]
    assert all(line.startswith("# ") for line in header.splitlines())
    assert origin["prompts"][:16] in header
    assert "n=16" in header


def test_what_is_kept_beside_the_policy_holds_no_text(policy: Path, tmp_path: Path) -> None:
    """Answers lie in the work folder's one file that pruning knows, and nowhere else."""
    benign, output = rows(tmp_path / "benign.jsonl", GARDEN[:14]), tmp_path / "tuned.yaml"
    done(*asked(policy, benign, output))
    (stored,) = (tmp_path / "tuned.work").glob("responses.none.jsonl")
    texts = [one["text"] for one in read_lines(stored)]
    assert len(texts) == 14
    others = [one for one in tmp_path.rglob("*") if one.is_file() and one not in (stored, benign)]
    assert len(others) >= 5  # both policies, the record, the manifest, the readings
    for path in others:
        written = path.read_text()
        assert not any(text in written for text in texts if text)
        assert not any(prompt in written for prompt in GARDEN[:14])


def test_the_same_command_repeats_and_another_rate_asks_nobody(
    policy: Path, tmp_path: Path, server: Server
) -> None:
    """Answers and readings are kept: only the line is drawn anew."""
    benign, output = rows(tmp_path / "benign.jsonl", GARDEN[:30]), tmp_path / "tuned.yaml"
    command = asked(policy, benign, output, *local(server))
    done(*command)
    first, record = output.read_bytes(), (tmp_path / "tuned.json").read_bytes()
    done(*command)
    assert (output.read_bytes(), (tmp_path / "tuned.json").read_bytes()) == (first, record)
    strict = load_policy(output).output
    done(*command, "--fpr", 0.3)
    assert set(server.seen.values()) == {1}
    lax = load_policy(output).output
    assert strict and lax and lax.threshold < strict.threshold


def test_too_few_prompts_are_refused_before_anybody_is_asked(
    policy: Path, tmp_path: Path, server: Server
) -> None:
    """With the number that is needed; a prompt that is there twice counts once."""
    benign, output = rows(tmp_path / "b.jsonl", GARDEN[:13] * 2), tmp_path / "tuned.yaml"
    said = refused(*asked(policy, benign, output, *local(server)))
    assert "13 benign answers are too few for a false-positive rate of 20 %" in said
    assert "at least 14" in said
    said = refused(*asked(policy, benign, output, *local(server)), "--fpr", 0.01)
    assert "at least 299" in said
    assert not server.seen
    assert not (tmp_path / "tuned.work").exists()


def test_after_kill_9_the_same_command_ends_as_if_it_had_never_stopped(
    policy: Path, tmp_path: Path
) -> None:
    """No answer that was there is asked for again, and the files are the same to the byte."""
    benign = rows(tmp_path / "benign.jsonl", GARDEN[:16])
    whole, cut = tmp_path / "whole/tuned.yaml", tmp_path / "cut/tuned.yaml"
    done(*asked(policy, benign, whole))
    command = Command(asked(policy, benign, cut), tmp_path / "process")
    partial = tmp_path / "cut/tuned.work/responses.none.jsonl.partial"
    command.until(lambda: partial.is_file() and partial.read_bytes().count(b"\n") >= 2)
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL
    before = partial.read_bytes() if partial.is_file() else b""
    assert not cut.exists()
    done(*asked(policy, benign, cut))
    after = (tmp_path / "cut/tuned.work/responses.none.jsonl").read_bytes()
    assert after.startswith(before[: before.rfind(b"\n") + 1])
    for name in ("tuned.yaml", "tuned.json", "tuned.work/responses.none.jsonl"):
        assert (cut.parent / name).read_bytes() == (whole.parent / name).read_bytes()


def test_stored_answers_are_read_in_the_models_place(policy: Path, tmp_path: Path) -> None:
    """By the prompt's text or the row's number; one that is missing is named."""
    benign, stored = rows(tmp_path / "benign.jsonl", GARDEN[:15]), tmp_path / "stored.jsonl"
    lines = [{"prompt": one, "response": f"Water it, {n} times."} for n, one in enumerate(GARDEN)]
    lines[4] = {"id": "5", "response": "Water it, 4 times."}
    stored.write_text("".join(json.dumps(one) + "\n" for one in lines[:15]))
    output = tmp_path / "tuned.yaml"
    done(*asked(policy, benign, output, "--responses", stored))
    known = read_calibration(output)
    assert known.origin["engine"] == "imported"
    assert known.origin["model"] == "stored.jsonl"
    assert known.origin["decoding"]["temperature"] == 0
    other = rows(tmp_path / "more.jsonl", GARDEN[:16])
    said = refused(*asked(policy, other, tmp_path / "other.yaml", "--responses", stored))
    assert "no answer to 'benign/16'" in said


def test_verify_tells_a_drift(policy: Path, tmp_path: Path, server: Server) -> None:
    """Fresh prompts of the same model: exit code 0. Of one that now gives advice: 1."""
    output = tmp_path / "tuned.yaml"
    done(*asked(policy, rows(tmp_path / "b.jsonl", GARDEN[:30]), output, *local(server)))
    fresh = rows(tmp_path / "fresh.jsonl", GARDEN[30:])
    command = ["guard", "calibrate", "--verify", output, "--benign", fresh, *local(server)]
    same = call(*command)
    assert same.code == 0, same
    assert "of n=30 (Clopper–Pearson); promised: at most 20 %" in same.out
    assert "no drift (exact one-sided p" in same.out
    assert "Kolmogorov–Smirnov" in same.out
    assert "not as it was" not in same.out

    def advise(handler: Any, text: str, attempt: int) -> bool:
        body = completion(text)
        body["choices"][0]["message"]["content"] = ADVICE
        handler.answer(200, body)
        return True

    server.fault = advise
    drifted = call(*command)
    assert drifted.code == 1
    assert "withheld: 100.0 % [88.4, 100.0] of n=30" in drifted.out
    assert "DRIFT: at most 20 % is refuted" in drifted.out
    assert "benign/1, benign/2, " in drifted.out
    assert "and 10 more" in drifted.out
    assert ADVICE not in drifted.out
    assert {server.seen[one] for one in GARDEN[30:]} == {2}  # asked anew, and not kept
    assert not (tmp_path / "tuned.verify").exists()


def test_verify_says_what_is_no_fresh_test(policy: Path, tmp_path: Path, server: Server) -> None:
    """The calibration's own prompts, a policy changed by hand, another way of asking."""
    benign, output = rows(tmp_path / "b.jsonl", GARDEN[:20]), tmp_path / "tuned.yaml"
    done(*asked(policy, benign, output, *local(server)))
    command = ["guard", "calibrate", "--verify", output, "--benign", benign, *local(server)]
    assert "note: these are the prompts of the calibration" in done(*command).out
    changed = yaml.safe_load(output.read_text())
    changed["output"] |= {"threshold": 0.99, "categories": {}, "window": 8}
    output.write_text(yaml.safe_dump(changed))
    said = done(*command, "--max-new-tokens", 9).out
    for note in ("the policy was changed", "decoding: not as it was", "reading: not as it was"):
        assert f"note: {note}" in said
    (tmp_path / "tuned.json").unlink()
    assert "no tuned.json beside it" in refused(*command)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --output for the new policy, or --verify"),
        (["--output", "a.yaml", "--verify", "b.yaml"], "give --output for the new policy, or"),
        (["--output", "tuned.txt"], "end its name with .yaml"),
        (["--output", "tuned.yaml", "--engine", "vlm"], "did you mean 'vllm'"),
        (["--output", "tuned.yaml", "--model", ""], "--model: give the model that answers"),
        (["--output", "tuned.yaml", "--adapter", "nowhere"], "no adapter_config.json"),
        (["--output", "tuned.yaml", "--model", "testbed:alined"], "did you mean 'aligned'"),
        (["--output", "tuned.yaml", "--policy", "defalt"], "did you mean 'default'"),
        (["--output", "tuned.yaml", "--responses", "nowhere.jsonl"], "no such file"),
        (["--output", "tuned.yaml", "--fpr", "1"], "--fpr"),
        (["--output", "given.yaml"], "is there already; choose another --output"),
    ],
)
def test_a_wrong_option_is_named(
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    """And nothing is written."""
    monkeypatch.chdir(tmp_path)
    benign = rows(tmp_path / "benign.jsonl", GARDEN[:20])
    usual = ["--policy", policy, "--model", "testbed:aligned", "--benign", benign, "--fpr", 0.2]
    assert words in refused("guard", "calibrate", *usual, *options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benign.jsonl", "given.yaml"]


def test_a_policy_that_withholds_nothing_is_refused(policy: Path, tmp_path: Path) -> None:
    """There is nothing to calibrate where everything is logged."""
    benign = rows(tmp_path / "benign.jsonl", GARDEN[:20])
    shadow = tmp_path / "shadow.yaml"
    shadow.write_text(yaml.safe_dump(POLICY | {"output": {"action": "log"}}))
    assert "withholds nothing" in refused(*asked(shadow, benign, tmp_path / "tuned.yaml"))


def test_another_draw_does_not_mix_with_the_former(
    policy: Path, tmp_path: Path, server: Server
) -> None:
    """The work folder belongs to one set of prompts, one model and one decoding."""
    output = tmp_path / "tuned.yaml"
    done(*asked(policy, rows(tmp_path / "b.jsonl", GARDEN[:20]), output, *local(server)))
    other = rows(tmp_path / "b2.jsonl", GARDEN[20:40])
    said = refused(*asked(policy, other, output, *local(server)))
    assert "holds another run (differs in: answers.prompts)" in said
