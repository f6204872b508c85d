"""Sets for TRL: the shape fits the switch, and TRL's labels are the previewed ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.data import Example
from safeft.data.masks import encode
from safeft.data.sets import domain_split, loss_options, to_dataset, to_tokens
from safeft.errors import DataError

Make = Callable[[list[dict[str, Any]]], tuple[Example, ...]]
SINGLE = [{"question": f"Question {n}?", "answer": f"the answer {n}."} for n in range(20)]
TURNS = [
    {"role": role, "content": f"{role} {n}"} for n in range(2) for role in ("user", "assistant")
]


def test_single_answers_become_prompt_and_completion(make: Make) -> None:
    """Then TRL masks the prompt with any template."""
    dataset = to_dataset(make(SINGLE))
    assert dataset[0] == {
        "prompt": [{"role": "user", "content": "Question 0?"}],
        "completion": [{"role": "assistant", "content": "the answer 0."}],
    }
    assert loss_options(dataset) == {"completion_only_loss": True}


def test_several_answers_become_messages(make: Make) -> None:
    """Prompt/completion would train the last answer only."""
    dataset = to_dataset(make([{"messages": TURNS}, {"messages": TURNS[:2]}]))
    assert dataset[0]["messages"] == TURNS
    assert loss_options(dataset) == {"assistant_only_loss": True}


def test_texts_stay_texts_and_kinds_do_not_mix(make: Make) -> None:
    """A mixture of chats and documents, or nothing at all, is refused."""
    texts = make([{"text": "Once."}])
    assert to_dataset(texts)[0] == {"text": "Once."}
    assert loss_options(to_dataset(texts)) == {}
    with pytest.raises(DataError, match="cannot be mixed"):
        to_dataset(texts + make(SINGLE))
    for build in (to_dataset, to_tokens):
        with pytest.raises(DataError, match="no examples"):
            build([])


def test_a_domain_split_has_no_prompt_on_both_sides(make: Make) -> None:
    """Train and test of a domain are disjoint and complete."""
    parts = domain_split(make(SINGLE + SINGLE), 0.2)
    train, test = ({row["prompt"][0]["content"] for row in parts[name]} for name in parts)
    assert not train & test
    assert len(train | test) == 20


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


@pytest.mark.parametrize("rows", [SINGLE, [{"messages": TURNS}], [{"text": "Once."}]])
def test_trl_computes_the_same_labels_itself(
    rows: list[dict[str, Any]],
    make: Make,
    with_template: Callable[[str], Any],
    trl_labels: Callable[..., Any],
) -> None:
    """With `to_dataset` and `loss_options` TRL trains the tokens that we do.

    Prompt/completion also trains the template's line break after the stop token.
    """
    tokenizer = with_template("marked")
    items = make(rows)
    dataset = to_dataset(items)
    theirs = trl_labels(dataset, tokenizer, **loss_options(dataset))
    ours = to_tokens([encode(item, tokenizer, 64) for item in items])
    breaks = tokenizer("\n")["input_ids"]
    for (ids, labels), row in zip(theirs, ours, strict=True):
        if "prompt" in dataset.column_names and labels[-len(breaks) :] == breaks:
            labels[-len(breaks) :] = [-100] * len(breaks)
        assert (ids, labels) == (row["input_ids"], row["labels"])
