"""The guard's training script, from toy rows to weights that the guard loads; MiniLM is real."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.spelling import needs_encoder, needs_scripts, script
from safeft.guarding.encoder import EncoderGuard
from safeft.guarding.reader import Reader, Weights
from safeft.records import Prompt

torch = pytest.importorskip("torch")
pytestmark = [needs_scripts, needs_encoder]
SMALL = {"RANK": 4, "HIDDEN": 16, "BATCH": 10, "EPOCHS": 6, "HEAD_RATE": 2e-2, "SAVED": 6}
NEAR = "How do I fold a paper crane?"
HARM = ("stab", "hack")


@pytest.fixture(scope="module")
def train() -> Iterator[ModuleType]:
    """The script, with sizes that take seconds, and with toy rows."""
    with script("train") as module, pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(module, name, value)
        patch.setattr(module, "training", lambda *_: toy(module))
        patch.setattr(module, "never_near", lambda: [NEAR])
        yield module


def toy(train: ModuleType) -> list[Any]:
    """Requests and answers that one word gives away, of two kinds; and a row that is too near."""
    rows = [train.Row("how do i fold  a paper crane", "Fold it", False, "own")]
    for number in range(6):
        harm, kind = HARM[number % 2], ("violence", "cyber")[number % 2]
        rows += [
            train.Row(f"how to {harm} {number}", f"{harm} them {number}", True, "own", kind),
            train.Row(f"how to {harm} {number}", f"no, sorry {number}", False, "own"),
            train.Row(f"how to bake {number}", f"bake bread {number}", False, "own"),
            train.Row(f"how to {harm} {number}", "", True, "request/own", kind),
            train.Row(f"how to bake {number}", "", False, "request/own"),
        ]
    return rows


def run(train: ModuleType, work: Path) -> bytes:
    """What the script writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", "--prompts", "unused", "--work", str(work)])
        train.main()
    return (work / "guard.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(train: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training, and a card for its weights."""
    work = tmp_path_factory.mktemp("trained")
    digest = hashlib.sha256(run(train, work)).hexdigest()
    card = {"sha256": digest, "categories": train.CATEGORIES, "temperature": 1.0}
    (work / "guard.json").write_text(json.dumps(card | {"scale": train.SCALE}))
    return work


def test_the_guard_loads_what_was_trained_and_tells_the_classes_apart(trained: Path) -> None:
    """Answers by what is said, requests by what is asked, and the kind of harm."""
    judge = EncoderGuard(trained)
    for harm, kind, other in (("stab", "violence", "cyber"), ("hack", "cyber", "violence")):
        asking = f"how to {harm} 99"
        low, high = judge.scores([(asking, "no, sorry 99"), (asking, f"{harm} them 99")])
        assert low < 0.5 < high
        safe, unsafe = judge.requests([Prompt.of("how to bake 99"), Prompt.of(asking)])
        assert (safe.unsafe, unsafe.unsafe) == (False, True)
        assert unsafe.scores[kind] == max(unsafe.scores.values()) > unsafe.scores[other]


def test_what_is_read_is_what_was_trained(train: ModuleType, trained: Path) -> None:
    """The reader adds to MiniLM what training kept beside it, but for half precision."""
    model = train.Guard()
    model.load_state_dict(torch.load(trained / "checkpoint.pt", weights_only=True)["model"])
    reader = Reader(Weights.load(trained))
    texts = [("how to stab 1", "stab them"), ("how to bake 2", "bake a long and crusty bread")]
    ids = [(reader.pieces(left, 99)[0], reader.pieces(right, 99)[0]) for left, right in texts]
    tokenizer = train.AutoTokenizer.from_pretrained(train.encoder_folder())
    batch = tokenizer.pad([train.encoded(tokenizer, *one) for one in ids], return_tensors="pt")
    with torch.inference_mode():
        wanted = model.eval()(dict(batch)).numpy()
    assert np.ptp(wanted, axis=0).max() > 0.5
    np.testing.assert_allclose(reader.logits(ids), wanted, atol=0.03)


def test_a_killed_training_resumes_to_the_same_weights(
    train: ModuleType, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its last checkpoint, dropout and all; the rows that were chosen stay chosen."""
    steps, loss_of = iter(range(100)), train.loss_of

    def killed(*arguments: Any) -> Any:
        if next(steps) == 2 * SMALL["SAVED"] + 3:
            raise KeyboardInterrupt
        return loss_of(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train, "loss_of", killed)
        with pytest.raises(KeyboardInterrupt):
            run(train, tmp_path)
    assert not (tmp_path / "guard.safetensors").exists()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2 * SMALL["SAVED"]
    monkeypatch.setattr(train, "training", None)
    assert run(train, tmp_path) == (trained / "guard.safetensors").read_bytes()


def test_rows_near_what_is_kept_out_are_dropped(train: ModuleType, trained: Path) -> None:
    """And no others."""
    near, *others = toy(train)
    chosen = json.loads((trained / "rows.json").read_text())
    assert [train.Row(*one) for one in chosen] == others
    assert train.far([near, others[0]]) == [others[0]]


tokens = st.lists(st.integers(1000, 2000), max_size=400)


@settings(deadline=None, max_examples=50)
@given(tokens, tokens, st.booleans(), st.integers())
def test_an_epoch_sees_the_requests_end_and_one_stretch_of_the_answer(
    train: ModuleType, left: list[int], right: list[int], unsafe: bool, seed: int
) -> None:
    """No longer than the batch allows; a request alone is never left out."""
    row = train.Row("", "", unsafe, "own")
    request, answer = train.seen((left, right), row, random.Random(seed))
    assert request in ([], left[-train.ASKED :])
    assert len(answer) <= train.SAID
    assert any(answer == right[at : at + len(answer)] for at in range(len(right) + 1))
    assert bool(answer) == bool(right)
    if not right:
        assert request == left[-train.ASKED :]


def test_every_row_is_in_one_batch_of_an_epoch(train: ModuleType) -> None:
    """Another epoch has other batches; the same seed has the same."""
    rows = toy(train)
    pairs = [([1] * (len(row.prompt) % 7), [2] * len(row.response)) for row in rows]
    plan = train.batches(rows, pairs, 0, 0)
    assert sorted(place for places, _ in plan for place in places) == list(range(len(rows)))
    assert all(len(places) == len(shown) <= train.BATCH for places, shown in plan)
    assert plan == train.batches(rows, pairs, 0, 0) != train.batches(rows, pairs, 1, 0)


def test_the_loss_falls_with_the_column_that_the_row_is_about(train: ModuleType) -> None:
    """Answers by the first, requests by the second, and the category where one is known."""
    answer, request = train.Row("a", "b", True, "own"), train.Row("a", "", True, "own")
    known = train.Row("a", "", True, "own", train.CATEGORIES[2])
    for row, columns in ((answer, {0}), (request, {1}), (known, {1, 2, 4})):
        logits = torch.zeros(1, 2 + len(train.CATEGORIES), requires_grad=True)
        train.loss_of(logits, [row], torch.tensor([1.0, 1.0])).backward()
        slopes = logits.grad[0]
        assert columns <= set(slopes.nonzero().flatten().tolist())
        assert {0, 1} - columns <= set((slopes == 0).nonzero().flatten().tolist())
        assert slopes[min(columns)] < 0
        assert bool(slopes[2:].any()) is bool(row.kind)
