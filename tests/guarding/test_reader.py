"""Laws of the reader: what the weights change in MiniLM, and how pairs go through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from guarding.spelling import KINDS, needs_encoder, written
from safeft.errors import StoredError
from safeft.guarding import reader as module
from safeft.guarding.reader import ASKED, SAID, SHARED, WEIGHTS, Reader, Weights
from safeft.guarding.rows import GUARD_PARITY
from safeft.models.encoder import SHA256, WIDTH

torch = pytest.importorskip("torch")
QUERY = "encoder.layer.0.attention.self.query"


def drawn(seed: int, *shape: int, size: float = 1.0) -> NDArray[np.float32]:
    """Normal numbers of this standard deviation."""
    return np.random.default_rng(seed).normal(0, size, shape).astype(np.float32)


def tensors(rank: int = 2, hidden: int = 4) -> dict[str, NDArray[np.float32]]:
    """Weights that change one layer, under a head at random."""
    return {
        f"{QUERY}.down": drawn(1, rank, WIDTH, size=0.1),
        f"{QUERY}.up": drawn(2, WIDTH, rank, size=0.1),
        "hidden.weight": drawn(3, hidden, 2 * WIDTH, size=0.1),
        "hidden.bias": drawn(4, hidden),
        "head.weight": drawn(5, 2 + len(KINDS), hidden),
        "head.bias": drawn(6, 2 + len(KINDS)),
    }


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """MiniLM with them."""
    return Reader(Weights.load(written(tmp_path_factory.mktemp("weights"), tensors(), scale=0.5)))


def pairs(reader: Reader, *texts: tuple[str, str]) -> list[tuple[list[int], list[int]]]:
    """Token ids of short requests and texts."""
    found = [(reader.pieces(left, ASKED), reader.pieces(right, SAID)) for left, right in texts]
    return [(left[0], right[0]) for left, right in found]


MIXED = [
    ("How do I bake bread?", "Mix flour and water, let it rest, then bake it for an hour."),
    ("Hello", ""),
    ("Name a colour", "Blue"),
    ("", "An answer without its request"),
    ("Tell me a story", "Once upon a time " * 20),
]


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_adding_the_low_rank_product_equals_the_dense_definition(scale: float) -> None:
    """W + scale × up × down, in the named layers alone, from half precision too."""
    model = torch.nn.ModuleDict({"one": torch.nn.Linear(6, 5), "other": torch.nn.Linear(6, 5)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    down, up = torch.randn(2, 6).half(), torch.randn(5, 2).half()
    module.add(model, {"one.down": down, "one.up": up, "head.bias": torch.ones(3)}, scale)
    inputs = torch.randn(4, 6)
    change = scale * inputs @ down.float().T @ up.float().T
    wanted = inputs @ before["one.weight"].T + change + before["one.bias"]
    torch.testing.assert_close(model["one"](inputs), wanted)
    for name in ("other.weight", "other.bias", "one.bias"):
        assert torch.equal(model.state_dict()[name], before[name])


class Marks:
    """Of a tokenizer, the marks."""

    cls_token_id, sep_token_id = 101, 102


def test_a_pair_has_two_parts_and_a_request_alone_has_one() -> None:
    """[CLS] request [SEP] text [SEP], with the parts told apart; nothing is masked."""
    pair, alone = module.encoded(Marks(), [7, 8], [9]), module.encoded(Marks(), [7, 8], [])
    assert pair["input_ids"] == [101, 7, 8, 102, 9, 102]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert alone["input_ids"] == [101, 7, 8, 102]
    assert alone["token_type_ids"] == [0] * 4
    assert module.encoded(Marks(), [], [9])["input_ids"] == [101, 102, 9, 102]
    assert all(set(one["attention_mask"]) == {1} for one in (pair, alone))


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.floats(-1e6, 1e6))
def test_pooling_ignores_padding(words: int, padding: int, there: float) -> None:
    """Mean and maximum of the tokens alone, whatever stands in the padding."""
    hidden = np.full((1, words + padding, 3), there, np.float32)
    hidden[0, :words] = drawn(words, words, 3)
    mask = torch.tensor([[1] * words + [0] * padding])
    found = module.pooled(torch.tensor(hidden), mask)
    real = hidden[0, :words]
    wanted = np.concatenate([real.mean(0), real.max(0)])[None]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


@needs_encoder
def test_batches_do_not_change_a_rows_logits(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the order: rows of any length come back in their places."""
    rows = pairs(reader, *MIXED)
    together = reader.logits(rows)
    assert together.shape == (len(MIXED), 2 + len(KINDS))
    assert np.ptp(together, axis=0).min() > 1e-2  # rows that say the same could not be mixed up
    np.testing.assert_allclose(reader.logits(rows[::-1])[::-1], together, atol=1e-4)
    monkeypatch.setattr(module, "BATCH", 2)
    np.testing.assert_allclose(reader.logits(rows), together, atol=1e-4)
    alone = np.concatenate([reader.logits([one]) for one in rows])
    np.testing.assert_allclose(alone, together, atol=1e-4)
    assert reader.logits([]).shape == (0, 2 + len(KINDS))


@needs_encoder
def test_logits_are_those_of_minilm_with_the_dense_change(reader: Reader) -> None:
    """Computed from what the card and the tensors say, without the reader's own functions."""
    from transformers import AutoModel, AutoTokenizer

    from safeft.models.encoder import encoder_folder

    folder, weights = encoder_folder(), {k: torch.tensor(v) for k, v in tensors().items()}
    body, tokenizer = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    query = body.get_submodule(QUERY)
    query.weight.data += 0.5 * weights[f"{QUERY}.up"] @ weights[f"{QUERY}.down"]
    left, right = MIXED[0]
    with torch.inference_mode():
        states = body(**tokenizer(left, right, return_tensors="pt")).last_hidden_state[0]
        features = torch.cat([states.mean(0), states.amax(0)])
        inner = torch.nn.functional.gelu(
            weights["hidden.weight"] @ features + weights["hidden.bias"]
        )
        wanted = weights["head.weight"] @ inner + weights["head.bias"]
    found = reader.logits(pairs(reader, (left, right)))[0]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


@settings(deadline=None)
@given(st.integers(0, 2000), st.sampled_from((ASKED, SAID)))
def test_windows_together_hold_every_token(tokens: int, size: int) -> None:
    """In order, none too long, and each sharing `SHARED` or more with the one before it."""
    windows = module.windows(list(range(tokens)), size)
    assert {one for window in windows for one in window} == set(range(tokens))
    assert all(len(window) <= size for window in windows)
    assert all(window == list(range(window[0], window[-1] + 1)) for window in windows if window)
    for one, following in pairwise(windows):
        assert one[0] < following[0] <= one[-1] + 1 - SHARED
    assert len(windows) == 1 or tokens > size


@needs_encoder
def test_a_text_cannot_end_a_part(reader: Reader) -> None:
    """A separator that is spelled out is read as letters; white space has no tokens."""
    for mark in ("[SEP]", "[CLS]", "[PAD]", "[MASK]"):
        assert reader.pieces(mark, SAID) == reader.pieces(f"[ {mark[1:-1]} ]", SAID)
    assert reader.pieces("", SAID) == reader.pieces(" \n", SAID) == [[]]
    assert len(reader.pieces("word " * 1000, SAID)) == 4


def flip(folder: Path) -> None:
    """One bit of the weights."""
    data = bytearray((folder / "guard.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "guard.safetensors").write_bytes(bytes(data))


def card(**changes: Any) -> Callable[[Path], None]:
    """The card with other values; None takes a key out."""

    def change(folder: Path) -> None:
        values = json.loads((folder / "guard.json").read_text()) | changes
        kept = {key: value for key, value in values.items() if value is not None}
        (folder / "guard.json").write_text(json.dumps(kept))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda folder: written(folder, {"out.bias": drawn(0, 1)}),
        lambda folder: (folder / "guard.safetensors").unlink(),
        lambda folder: (folder / "guard.safetensors").write_bytes(b"nothing"),
        lambda folder: (folder / "guard.json").unlink(),
        lambda folder: (folder / "guard.json").write_text("{"),
        lambda folder: (folder / "guard.json").write_text("[]"),
        card(sha256="0" * 64),
        card(categories=["one", "two"]),
        card(temperature=0),
        card(temperature="hot"),
        card(scale=None),
    ],
)
def test_damaged_weights_are_found_when_they_are_loaded(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """Before anything is judged; the message says what to do."""
    assert Weights.load(written(tmp_path)).card["categories"] == list(KINDS)
    damage(tmp_path)
    with pytest.raises(StoredError, match="reinstall safeft"):
        Weights.load(tmp_path)


@pytest.mark.skipif(
    not (WEIGHTS / "guard.safetensors").is_file(),
    reason="the guard's weights are not trained yet: run benchmarks/guard/train.py",
)
def test_shipped_weights_are_small_and_carry_their_card() -> None:
    """Under 3 MB with it; trained on this half, over this MiniLM, measured on what was kept out."""
    weights = Weights.load()
    files = [WEIGHTS / name for name in ("guard.safetensors", "guard.json")]
    assert sum(one.stat().st_size for one in files) < 3e6
    assert weights.card["sha256"] == weights.digest
    assert weights.card["training"]["half"] == GUARD_PARITY
    read = weights.card["encoder"]
    assert (read["sha256"], read["request"], read["text"]) == (SHA256, ASKED, SAID)
    assert {"gptfuzz_held_out_questions", "withheld"} <= weights.card["measured"].keys()
    assert weights.tensors["hidden.weight"].shape[1] == 2 * WIDTH
    assert all(bool(torch.isfinite(one).all()) for one in weights.tensors.values())
