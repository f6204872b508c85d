"""What `safeft guard calibrate` asks and reads by: an adapter, judges that ship, a probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from endpoint import Server
from processes import done

from cli.calibrated import GARDEN, POLICY, asked, local, rows
from safeft.guarding import load_policy
from safeft.guarding.calibration import read_calibration
from safeft.runs import read_lines


def test_an_adapter_is_part_of_what_is_calibrated(
    policy: Path, tmp_path: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    """Its weights are in the record, and its answers are not the model's own."""
    benign = rows(tmp_path / "benign.jsonl", GARDEN[:14])
    small = ["--model", tiny_model, "--max-new-tokens", 8, "--temperature", 0]
    with_adapter = [*small, "--adapter", tiny_adapter]
    done(*asked(policy, benign, tmp_path / "plain.yaml", *small))
    done(*asked(policy, benign, tmp_path / "tuned.yaml", *with_adapter))
    weights = [
        read_calibration(tmp_path / f"{name}.yaml").origin["weights"] for name in ("plain", "tuned")
    ]
    assert [len(one) for one in weights] == [1, 2]
    assert weights[0][0] == weights[1][0]
    answers = [
        (tmp_path / f"{name}.work/responses.none.jsonl").read_text() for name in ("plain", "tuned")
    ]
    assert answers[0] != answers[1]


def test_an_input_alone_asks_no_model(policy: Path, tmp_path: Path, server: Server) -> None:
    """Requests are all that such a policy reads."""
    stage = POLICY["output"]
    policy.write_text(yaml.safe_dump({"name": "in", "refusal": "No.", "input": stage}))
    benign, output = rows(tmp_path / "b.jsonl", GARDEN[:20]), tmp_path / "tuned.yaml"
    done(*asked(policy, benign, output, *local(server)))
    assert not server.seen
    assert load_policy(output).input != load_policy(policy).input


def test_the_embedded_guard_is_calibrated(tmp_path: Path) -> None:
    """End to end with what ships: every category of the embedded judge has its place."""
    given = tmp_path / "given.yaml"
    stage = {"judge": "encoder-guard"}
    values = {"name": "both", "refusal": "No.", "input": stage, "output": stage}
    given.write_text(yaml.safe_dump(values))
    benign, output = rows(tmp_path / "benign.jsonl", GARDEN[:20]), tmp_path / "tuned.yaml"
    done(*asked(given, benign, output))
    made, known = load_policy(output), read_calibration(output)
    assert made.input and made.output
    assert made.input.threshold == made.output.threshold != 0.5
    assert known.unread == 0
    assert known.withheld <= 20 - known.rank
    assert set(known.origin["reading"]["judges"]) == {"input", "output"}


def test_a_probe_reads_the_model_that_is_calibrated(
    tmp_path: Path, tiny_model: Path, tiny_adapter: Path, tiny_tokenizer: Any
) -> None:
    """With its adapter: not the model that the probe was trained on."""
    from guarding.probing import probing, saved

    from safeft.guarding.probe_guard import ProbeGuard
    from safeft.models import load_model
    from safeft.records import Prompt, Response

    card = saved(tmp_path, probing(model=str(tiny_model)))
    policy = tmp_path / "given.yaml"
    stage = {"judge": str(card), "window": 500, "first_window": 500}
    whole = {"name": "mine", "refusal": "Not today.", "output": stage, "decode": False}
    policy.write_text(yaml.safe_dump(whole))
    benign, output = rows(tmp_path / "benign.jsonl", GARDEN[:14]), tmp_path / "tuned.yaml"
    who = ["--model", tiny_model, "--adapter", tiny_adapter, "--max-new-tokens", 24]
    done(*asked(policy, benign, output, *who))
    (stored,) = (tmp_path / "tuned.work").glob("responses.none.jsonl")
    (readings,) = (tmp_path / "tuned.work").glob("readings.*.jsonl")
    texts = {one["id"]: one["text"] for one in read_lines(stored)}
    prompts = {f"benign/{place}": text for place, text in enumerate(GARDEN[:14], 1)}
    for adapters, same in (([tiny_adapter], True), ([], False)):
        judge = ProbeGuard(card)
        judge.attach(load_model(str(tiny_model), adapters=adapters), tiny_tokenizer)
        found = [
            judge([Response(Prompt.of(prompts[one["id"]]), texts[one["id"]])])[0].scores["unsafe"]
            == pytest.approx(one["scores"]["output"]["unsafe"], abs=1e-3)
            for one in read_lines(readings)
        ]
        assert all(found) is same
