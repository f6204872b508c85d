"""The guard's training script, from rows to weights that the guard loads, with a toy encoder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from safeft.guarding import EncoderGuard
from safeft.guarding.rows import common, marks

GUARD = Path(__file__).resolve().parents[2] / "benchmarks" / "guard"
pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not GUARD.is_dir(), reason="benchmarks are not here")


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(GUARD))
    import train

    monkeypatch.setattr(train, "read", encoder)
    yield train
    for name in {"train", "rows", "world", "refusals", "prompts"} - before:
        sys.modules.pop(name, None)  # other scripts have modules of these names


def encoder(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors of width 8: `bad` in the first coordinate, the rest from a hash."""
    rows = []
    for text in texts:
        noise = np.frombuffer(hashlib.sha256(text.encode()).digest()[:7], np.uint8) / 255 - 0.5
        rows.append(np.concatenate([[2.0 if "bad" in text else -2.0], noise]))
    found = np.array(rows, dtype=np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def test_weights_and_card_come_out_and_the_guard_reads_them(
    train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(start: int, source: str) -> list[object]:
        texts = [("bad", "bad"), ("bad", "no"), ("good", "bad"), ("good", "yes")]
        return [
            train.Row(f"{p} {n}", f"{r} {n}" + "." * 600, (p, r) == ("bad", "bad"), source)
            for n in range(start, start + 40)
            for p, r in texts
        ]

    learn = [*rows(0, "own"), train.Row("exactly kept out", "fine", False, "own")]
    monkeypatch.setattr(train, "training", lambda path, seed, limit: learn)
    monkeypatch.setattr(train, "testing", lambda path, seed, limit: rows(100, "gptfuzz"))
    monkeypatch.setattr(train, "never_near", lambda: ["exactly kept out"])
    monkeypatch.setattr(train, "NEAR", 0.9999)
    monkeypatch.setattr(train, "EPOCHS", 40)
    out, work = tmp_path / "out", tmp_path / "work"
    options = ["--prompts", "unused", "--work", str(work), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["train.py", *options])
    train.main()
    card = json.loads((out / "guard.json").read_text())
    assert card["training"]["rows"] == {"own, safe": 120, "own, unsafe": 40}
    assert card["measured"]["gptfuzz_held_out_questions"]["auroc"] > 0.99
    assert len((out / "guard.json").read_text()) < 60_000
    judge = EncoderGuard(weights=out, encoder=encoder)
    assert judge.trained_on == card["rows"]
    assert common(judge.trained_on, marks(row.response for row in learn[:4])) == 3
    assert common(judge.trained_on, marks(["fine"])) == 0  # near what is kept out
    low, high = judge.scores([("bad x", "no x"), ("bad x", "bad x")])
    assert low < 0.5 < high
    first = (out / "guard.safetensors").read_bytes()
    monkeypatch.setattr(train, "read", None)  # a second run finds every embedding in `work`
    train.main()
    assert (out / "guard.safetensors").read_bytes() == first


def test_auroc_counts_ties_half(train: ModuleType) -> None:
    truth = np.array([True, True, False, False])
    assert train.auroc(truth, np.array([0.9, 0.8, 0.1, 0.2], np.float32)) == 1.0
    assert train.auroc(truth, np.array([0.5, 0.5, 0.5, 0.5], np.float32)) == 0.5
    assert train.auroc(truth, np.array([0.3, 0.1, 0.2, 0.4], np.float32)) == 0.25


def test_rates_carry_their_interval_and_n(train: ModuleType) -> None:
    found = train.rate(np.array([True] + [False] * 99))
    assert found == {"rate": 0.01, "low": 0.0018, "high": 0.0545, "n": 100}
