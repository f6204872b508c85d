"""Utility: the loss is the model's own, ROUGE-L is Lin's, and both are written once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safeft.data import Example
from safeft.data.masks import encode
from safeft.evaluation import held_out_loss, rouge, rouge_l
from safeft.generation import Scripted
from safeft.models import load_model, load_tokenizer
from safeft.records import Message

WORDS = ["how", "does", "one", "grow", "water", "plant", "garden"]
EXAMPLES = tuple(
    Example(
        (
            Message("user", " ".join(WORDS[: n % 7 + 1])),
            Message("assistant", " ".join(WORDS[n % 5 :] * (n % 4 + 1))),
        ),
        n,
        "here",
    )
    for n in range(11)
)
LONG = Example((Message("user", "water " * 30), Message("assistant", "yes")), 99, "here")


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> tuple[Any, Any]:
    return load_model(str(tiny_model), precision="float32"), load_tokenizer(str(tiny_model))


def never() -> Any:
    raise AssertionError("a finished file loads no model")


def reference(loaded: tuple[Any, Any], example: Example) -> float:
    """The loss that the model itself computes in float64 for this row alone."""
    model, tokenizer = copy.deepcopy(loaded[0]).double(), loaded[1]
    row = encode(example, tokenizer, 1024)
    labels = [one if kept else -100 for one, kept in zip(row.ids, row.loss_mask, strict=True)]
    with torch.inference_mode():
        return float(model(torch.tensor([row.ids]), labels=torch.tensor([labels])).loss)


def test_the_loss_is_the_models_own(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    """Every row's loss equals the model's own loss on that row in float64, padding or not."""
    losses = held_out_loss(lambda: loaded, EXAMPLES, tmp_path / "loss.jsonl", batch_size=4)
    expected = [reference(loaded, one) for one in EXAMPLES]
    assert losses == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("size", [1, 3, 11, 64])
def test_the_loss_does_not_depend_on_the_batch(
    loaded: tuple[Any, Any], tmp_path: Path, size: int
) -> None:
    """However rows are padded together, each has the loss it has alone."""
    alone = held_out_loss(lambda: loaded, EXAMPLES, tmp_path / "1.jsonl", batch_size=1)
    batched = held_out_loss(lambda: loaded, EXAMPLES, tmp_path / "n.jsonl", batch_size=size)
    assert batched == pytest.approx(alone, abs=3e-6)


def test_only_answers_count(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    """The loss of an answer changes with its prompt, but the prompt's own tokens are not in it."""
    model, tokenizer = loaded
    [loss] = held_out_loss(lambda: loaded, EXAMPLES[6:7], tmp_path / "loss.jsonl")
    row = encode(EXAMPLES[6], tokenizer, 1024)
    with torch.inference_mode():
        scores = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    kept = [n for n, counts in enumerate(row.loss_mask) if counts]
    by_hand = [-float(scores[n - 1, row.ids[n]]) for n in kept]
    assert 0 < len(kept) < len(row.ids)
    assert loss == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-5)


def test_losses_are_written_once(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    """A finished file is read without a model."""
    path = tmp_path / "loss.jsonl"
    losses = held_out_loss(lambda: loaded, EXAMPLES, path)
    before = path.read_bytes()
    assert held_out_loss(never, EXAMPLES, path) == losses
    assert path.read_bytes() == before


@pytest.mark.parametrize("lines", [0, 1, 4, 6, 11])
def test_losses_resume_to_the_same_bytes(
    loaded: tuple[Any, Any], tmp_path: Path, lines: int
) -> None:
    """Cut anywhere, the rest is computed in the batches of an uninterrupted run."""
    held_out_loss(lambda: loaded, EXAMPLES, tmp_path / "whole.jsonl", batch_size=4)
    whole = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    cut = b"".join(whole[:lines]) + b'{"id"'
    (tmp_path / "loss.jsonl.partial").write_bytes(cut)
    load: Callable[[], Any] = never if lines == len(EXAMPLES) else lambda: loaded
    held_out_loss(load, EXAMPLES, tmp_path / "loss.jsonl", batch_size=4)
    assert (tmp_path / "loss.jsonl").read_bytes() == b"".join(whole)


def test_a_row_cut_before_its_answer_has_no_loss(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    """NaN stands for it, not zero; the file stays valid JSON; its neighbours are untouched."""
    path = tmp_path / "loss.jsonl"
    losses = held_out_loss(lambda: loaded, [EXAMPLES[0], LONG, EXAMPLES[1]], path, max_length=40)
    assert math.isnan(losses[1])
    assert losses[0] == pytest.approx(reference(loaded, EXAMPLES[0]), abs=5e-6)
    assert "NaN" not in path.read_text()
    again = held_out_loss(never, [EXAMPLES[0], LONG, EXAMPLES[1]], path)
    assert math.isnan(again[1]) and again[::2] == losses[::2]


@pytest.mark.parametrize(
    ("candidate", "reference", "score"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", 1.0),
        ("police kill the gunman", "police killed the gunman", 0.75),  # Lin 2004, section 3
        ("the gunman kill police", "police killed the gunman", 0.5),  # the same words, turned
        ("a b c d e", "a c e", 2 * 3 / 8),
        ("a x b y c", "c b a", 2 * 1 / 8),
        ("a a a", "a", 2 * 1 / 4),
        ("one two", "three four", 0.0),
        ("", "one", 0.0),
        ("one", "", 0.0),
        ("", "", 0.0),
        ("?!", "one", 0.0),
        ("Step 1: Water it!", "step 1 water it", 1.0),
        ("über Äpfel", "Über äpfel", 1.0),
    ],
)
def test_rouge_l_by_hand(candidate: str, reference: str, score: float) -> None:
    """Twice the longest common subsequence over both lengths, on lower-case words."""
    assert rouge_l(candidate, reference) == pytest.approx(score)


SENTENCES = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)


def longest(one: list[str], two: list[str]) -> int:
    """The longest common subsequence by its definition, recursively."""
    if not one or not two:
        return 0
    if one[0] == two[0]:
        return 1 + longest(one[1:], two[1:])
    return max(longest(one[1:], two), longest(one, two[1:]))


@given(SENTENCES, SENTENCES)
def test_rouge_l_has_the_properties_of_an_f1(one: str, two: str) -> None:
    """Symmetric, in [0, 1], the definition's value, and 1 only for the same words."""
    score = rouge_l(one, two)
    first, second = one.split(), two.split()
    total = len(first) + len(second)
    assert score == rouge_l(two, one)
    assert score == pytest.approx(2 * longest(first, second) / total if total else 0)
    assert 0 <= score <= 1
    assert (score == 1) == (first == second != [])


@given(SENTENCES.filter(bool), SENTENCES, SENTENCES)
def test_rouge_l_grows_with_what_is_shared(one: str, two: str, shared: str) -> None:
    """Putting the same words before both never shortens what they share."""
    before = rouge_l(one, two) * (len(one.split()) + len(two.split()))
    after = rouge_l(f"{shared} {one}", f"{shared} {two}")
    length = len(one.split()) + len(two.split()) + 2 * len(shared.split())
    assert after * length == pytest.approx(before + 2 * len(shared.split()))


def test_answers_and_scores_are_written_once(tmp_path: Path) -> None:
    """Each example is asked without its answer and scored against it; a rerun needs no model."""
    asked = []

    def script(prompt: Any, decoding: Any) -> str:
        asked.append((prompt.messages, decoding.temperature, decoding.max_new_tokens))
        return EXAMPLES[int(prompt.id)].messages[-1].content if int(prompt.id) % 2 else "nothing"

    scores = rouge(lambda: Scripted(script), EXAMPLES, 33, tmp_path)
    assert scores == [float(n % 2) for n in range(len(EXAMPLES))]
    assert asked[0] == (EXAMPLES[0].messages[:-1], 0.0, 33)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"answers.jsonl", "matches.jsonl", "rouge.jsonl"}
    assert rouge(never, EXAMPLES, 33, tmp_path) == scores
    lines = before["rouge.jsonl"].splitlines(keepends=True)
    (tmp_path / "rouge.jsonl").unlink()
    (tmp_path / "rouge.jsonl.partial").write_bytes(b"".join(lines[:4]) + lines[4][:7])
    assert rouge(never, EXAMPLES, 33, tmp_path) == scores
    assert (tmp_path / "rouge.jsonl").read_bytes() == before["rouge.jsonl"]
