"""Sets for TRL: TRL's labels are the previewed ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.data import Example
from safeft.data.masks import encode
from safeft.data.sets import to_tokens
from safeft.errors import DataError

Make = Callable[[list[dict[str, Any]]], tuple[Example, ...]]
SINGLE = [{"question": f"Question {n}?", "answer": f"the answer {n}."} for n in range(20)]
TURNS = [
    {"role": role, "content": f"{role} {n}"} for n in range(2) for role in ("user", "assistant")
]


def test_no_examples_are_refused() -> None:
    """TRL would fail later, and less clearly."""
    with pytest.raises(DataError, match="no examples"):
        to_tokens([])


def test_labels_are_ids_or_ignored(make: Make, tokenizer: Any) -> None:
    """A label is its token's id where the token is trained, and -100 elsewhere."""
    encoded = [encode(item, tokenizer, 100) for item in make(SINGLE)]
    dataset = to_tokens(encoded)
    for row, item in zip(dataset, encoded, strict=True):
        assert tuple(row["input_ids"]) == item.ids
        assert tuple(label != -100 for label in row["labels"]) == item.loss_mask


@pytest.fixture
def trl_labels(tmp_path: Path) -> Callable[..., list[tuple[list[int], list[int]]]]:
    """Ids and labels as TRL's trainer prepares them for a tiny random model."""
    trl = pytest.importorskip("trl", reason="needs the training extra")
    from transformers import LlamaConfig, LlamaForCausalLM

    def prepare(dataset: Any, tokenizer: Any, **options: Any) -> list[tuple[list[int], list[int]]]:
        size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size, **heads))
        settings = {"use_cpu": True, "bf16": False, "max_length": 64, "report_to": "none"}
        arguments = trl.SFTConfig(output_dir=str(tmp_path / "out"), **settings, **options)
        trainer = trl.SFTTrainer(
            model, args=arguments, train_dataset=dataset, processing_class=tokenizer
        )
        return [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]

    return prepare


def test_trl_keeps_our_tokens_and_labels(
    make: Make, with_template: Callable[[str], Any], trl_labels: Callable[..., Any]
) -> None:
    """What the preview shows is what TRL trains, for several answers and without marks."""
    tokenizer = with_template("unmarked")
    dataset = to_tokens([encode(item, tokenizer, 64) for item in make([{"messages": TURNS}] * 3)])
    assert trl_labels(dataset, tokenizer) == [(r["input_ids"], r["labels"]) for r in dataset]
