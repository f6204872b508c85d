"""Encoded examples → a `datasets.Dataset` that TRL trains on.

TRL leaves a set that has `input_ids` and `labels` as it is, so what `safeft data preview` shows is
what is trained, whatever the chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from safeft.data.masks import Encoded
from safeft.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100  # the label that PyTorch's cross entropy skips


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


def _labels(item: Encoded) -> list[int]:
    pairs = zip(item.ids, item.loss_mask, strict=True)
    return [token if trained else IGNORED for token, trained in pairs]
