"""Examples → `datasets.Dataset`, in the shapes that TRL trains on.

`to_tokens` is what training should use: TRL leaves a set that has `input_ids` and `labels` as it
is, so what `safeft data preview` shows is what is trained, whatever the chat template. `to_dataset`
keeps the conversation for trainers that tokenise themselves; `loss_options` then says which of
TRL's switches computes the loss on the assistant's tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safeft.data.formats import Example
from safeft.data.masks import Encoded
from safeft.data.splits import split
from safeft.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

IGNORED = -100  # the label that PyTorch's cross entropy skips


def to_dataset(examples: Sequence[Example]) -> Dataset:
    """One row per example: `prompt` and `completion`, `messages`, or `text`.

    With one answer per row, prompt/completion: TRL then masks the prompt with any chat template.
    With several, `messages`: TRL masks them when the template has generation marks or is one it
    knows, and refuses otherwise. DataError when there is nothing, or chats are mixed with texts.
    """
    from datasets import Dataset

    kinds = {bool(item.text) for item in examples}
    if len(kinds) != 1:
        problem = "chats and plain texts cannot be mixed" if kinds else "there are no examples"
        raise DataError(f"data: {problem}; give rows of one kind")
    if kinds == {True}:
        return Dataset.from_list([{"text": item.text} for item in examples])
    return Dataset.from_list(_chats(examples))


def loss_options(dataset: Dataset) -> dict[str, bool]:
    """The SFTConfig switches that train a set of `to_dataset` on the assistant's tokens only."""
    names = dataset.column_names
    if "messages" in names:
        return {"assistant_only_loss": True}
    return {"completion_only_loss": True} if "completion" in names else {}


def to_tokens(encoded: Sequence[Encoded]) -> Dataset:
    """Columns `input_ids` and `labels`, the labels of masked tokens being -100; one row each.

    TRL drops the rows that are fully masked: count them with `masks.summary` and say so.
    """
    from datasets import Dataset

    if not encoded:
        raise DataError("data: there are no examples; give at least one row")
    return Dataset.from_dict(
        {
            "input_ids": [list(item.ids) for item in encoded],
            "labels": [_labels(item) for item in encoded],
        }
    )


def domain_split(
    examples: Sequence[Example], test_fraction: float = 0.1, seed: int = 0
) -> DatasetDict:
    """`train` and `test` of a domain's examples, no prompt in both (see `splits.split`)."""
    from datasets import DatasetDict

    parts = split(examples, test_fraction, seed)
    return DatasetDict({"train": to_dataset(parts.train), "test": to_dataset(parts.test)})


def _labels(item: Encoded) -> list[int]:
    pairs = zip(item.ids, item.loss_mask, strict=True)
    return [token if trained else IGNORED for token, trained in pairs]


def _chats(examples: Sequence[Example]) -> list[dict[str, Any]]:
    chats = [[asdict(turn) for turn in item.messages] for item in examples]
    answers = (sum(turn["role"] == "assistant" for turn in chat) for chat in chats)
    if max(answers) > 1:
        return [{"messages": chat} for chat in chats]
    return [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats]
