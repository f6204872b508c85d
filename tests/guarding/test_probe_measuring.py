"""The script that trains and measures a probe: all readers, the same rows, and no text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from guarding.spelling import needs_encoder, needs_scripts, script
from safeft.runs import hash_files, read_json

torch = pytest.importorskip("torch")
pytestmark = [needs_scripts, needs_encoder]
HARM, CALM = "water a plant in the garden with water", "the user and the system and one"


class Words:
    """Stands for the embedded guard, which has tests of its own."""

    name = "guard@12345678"

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """By one word of the answer."""
        return [0.9 if "plant" in text else 0.1 for _, text in pairs]


@pytest.fixture(scope="module")
def probing() -> Iterator[ModuleType]:
    """The script."""
    with script("probe") as module:
        yield module


def rows(probing: ModuleType, sources: Sequence[str], count: int) -> list[Any]:
    """Each request with a harmful answer and a harmless one, and one that is too long."""
    found = [
        probing.Row("how", "the " * 2000, True, sources[0]),
        probing.Row("how", "", True, "request/own"),
    ]
    for number in range(count):
        source = sources[number % len(sources)]
        found += [
            probing.Row(f"how {number}", f"{HARM} {number}", True, source),
            probing.Row(f"how {number}", f"{CALM} {number}", False, source),
        ]
    return found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything is kept."""
    return tmp_path_factory.mktemp("work")


def run(
    probing: ModuleType, work: Path, model: Path, adapter: Path, **changes: Any
) -> dict[str, Any]:
    """What the script writes, with a tiny model and toy rows."""
    usual = {
        "MODEL": str(model),
        "NEW": 4,
        "REPEATS": 2,
        "SIZES": (1, 2),
        "EncoderGuard": Words,
        "chosen": lambda *_: rows(probing, ["own"], 60),
        "testing": lambda *_: rows(probing, ["testbed/answered", "gptfuzz"], 20),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (usual | changes).items():
            patch.setattr(probing, name, value)
        output = work / "report.json"
        given = ["--prompts", "unused", "--work", work, "--adapter", adapter, "--output", output]
        patch.setattr(sys, "argv", ["probe.py", *map(str, given), "--test", "8"])
        probing.main()
    found: dict[str, Any] = read_json(output)
    return found


@pytest.fixture(scope="module")
def report(probing: ModuleType, work: Path, tiny_model: Path, tiny_adapter: Path) -> dict[str, Any]:
    """Of a first run."""
    return run(probing, work, tiny_model, tiny_adapter)


def test_all_readers_are_measured_on_the_same_rows(
    report: dict[str, Any], tiny_adapter: Path
) -> None:
    """By set, with an interval, and with how many rows; the probe by what it was trained on too."""
    assert list(report["auroc"]) == ["gptfuzz", "testbed", "all"]
    for name, count in (("gptfuzz", 16), ("testbed", 16), ("all", 32)):
        found = report["auroc"][name]
        assert (found["rows"], found["unsafe"], found["prompts"]) == (
            count,
            count // 2,
            found["prompts"],
        )
        assert found["guard"]["auroc"] == 1 and found["guard"]["low"] < 1
        for reader in ("probe", "probe after fine-tuning"):
            assert found[reader]["low"] <= found[reader]["auroc"] <= found[reader]["high"]
    assert report["auroc"]["all"]["probe"]["auroc"] > 0.9
    assert report["model"]["adapter"] == hash_files(tiny_adapter)
    assert report["probe"]["training"]["rows"] == 120
    assert "rows" not in report["probe"] and report["guard"] == Words.name


def test_the_cards_threshold_is_tried_before_and_after(report: dict[str, Any]) -> None:
    """On the testbed's answers: a fine-tune may move the scores and leave their order."""
    found = report["flagged_on_the_testbed"]
    assert found["threshold"] == report["probe"]["thresholds"]["0.05"]
    for reader in ("probe", "probe after fine-tuning"):
        assert {kind: one["n"] for kind, one in found[reader].items()} == {"unsafe": 8, "safe": 8}
    assert found["probe"]["unsafe"]["rate"] > found["probe"]["safe"]["rate"]


def test_a_step_is_timed_with_and_without(report: dict[str, Any]) -> None:
    """For each batch; what it costs is a share of a step."""
    assert list(report["decoding_step"]) == ["batch 1", "batch 2"]
    for one in report["decoding_step"].values():
        assert one["plain_ms"] > 0 and one["probe_ms"] > 0 and np.isfinite(one["share"])
        assert one["quartiles"][0] <= one["share"] <= one["quartiles"][1]


def test_a_second_run_trains_and_reads_nothing(
    probing: ModuleType, report: dict[str, Any], work: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    """What was kept is used; only the step is timed again."""
    again = run(probing, work, tiny_model, tiny_adapter, fit=None, read=None)
    same = [key for key in report if key != "decoding_step"]
    assert {key: again[key] for key in same} == {key: report[key] for key in same}


def test_no_text_is_written_but_where_it_is_kept(
    probing: ModuleType, report: dict[str, Any], work: Path
) -> None:
    """Neither in the report nor beside the scores."""
    assert report["auroc"]
    for path in work.glob("*.json"):
        assert not any(word in path.read_text() for word in ("garden", "how 3", CALM[:8]))
    scores = [json.loads(path.read_text()) for path in work.glob("scores-*.json")]
    assert len(scores) == 3 and all(len(one) == 32 for one in scores)
    assert probing.answers(rows(probing, ["own"], 3), 99, 0)[0].response != "the " * 2000
