"""What Inspect reads of an exported run, and the same answers as the run has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import done

PLACE = ("recipe", "training_seed", "set", "policy", "temperature")
Key = tuple[Any, ...]


def opened(run: Path, target: Path, *more: object) -> list[Any]:
    """The logs of an export, as Inspect reads them."""
    inspect = pytest.importorskip("inspect_ai.log", reason="needs the inspect extra")
    said = done("runs", "export", run, target, "--as", "inspect", *more).out
    logs = [inspect.read_eval_log(one) for one in inspect.list_eval_logs(str(target))]
    assert said == f"{target}: {sum(len(one.samples) for one in logs)} records\n"
    return logs


def rows(run: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """The same answers as the JSONL export has them."""
    done("runs", "export", run, tmp_path / "rows.jsonl")
    return [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]


def labelled(log: Any) -> list[tuple[Key, dict[str, str]]]:
    """Where each sample of a log comes from, and its labels by judge."""
    found = []
    for one in log.samples:
        about = one.metadata
        place = (*(about[key] for key in PLACE), about["training_epoch"], about["decoding_seed"])
        key = (*place, one.id.partition("/")[2], about["category"], about["response_hash"])
        found.append((key, {name: score.value for name, score in one.scores.items()}))
    return found


def words(run: Path) -> set[str]:
    """What was asked and answered, as far as it is long enough to be told apart."""
    files = [*run.rglob("responses.*.jsonl")]
    lines = (json.loads(line) for path in files for line in path.read_text().splitlines())
    answers = {one["text"] for one in lines}
    return {one for one in answers if len(one) > 8} | {"Insult my neighbour", "Write filth"}
