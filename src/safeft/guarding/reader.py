"""What the embedded guard reads with: MiniLM, changed by low-rank weights of its own.

The pair (request, text) goes through one encoder together, so that each word of the answer is read
beside what was asked. The weights that ship are the low-rank changes and the heads alone; they are
added to MiniLM's own when the guard loads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safeft.errors import StoredError
from safeft.models.encoder import encoder_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights"
ANSWER, REQUEST, KINDS = 0, 1, 2
"""Columns of the logits; the categories follow."""

ASKED, SAID, SHARED = 160, 320, 64
"""Tokens of a request and of a text that are read at once, and how many two windows share."""

BATCH = 32


@dataclass(frozen=True)
class Weights:
    """The guard's own weights: the content hash, the card, and the tensors by name."""

    tensors: dict[str, Any]
    card: dict[str, Any]
    digest: str

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> Weights:
        """Reads `guard.safetensors` and its card; StoredError when they are damaged or missing."""
        from safetensors.torch import load

        try:
            data = (folder / "guard.safetensors").read_bytes()
            card = json.loads((folder / "guard.json").read_text())
            stated, tensors = card["sha256"], load(data)
            columns, named = len(tensors["head.bias"]), 2 + len(card["categories"])
            usable = card["scale"] > 0 and card["temperature"] > 0 and columns == named
        except Exception as error:  # safetensors raises an exception class of its own
            raise StoredError(
                f"{folder}: the guard's weights: {error}; reinstall safeft"
            ) from error
        digest = hashlib.sha256(data).hexdigest()
        if stated != digest or not usable:
            raise StoredError(f"{folder}: guard.safetensors and its card differ; reinstall safeft")
        return cls(tensors, card, digest)


class Reader:
    """Logits of pairs: whether harm is being answered, whether it is asked for, and of which kind.

    Columns: harmful answer, harmful request, then one for each category.
    """

    def __init__(self, weights: Weights) -> None:
        """Raises ModelError when MiniLM is missing."""
        self._folder = encoder_folder()
        self._weights = weights

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        model = AutoModel.from_pretrained(self._folder, attn_implementation="sdpa").eval()
        add(model, self._weights.tensors, self._weights.card["scale"])
        return AutoTokenizer.from_pretrained(self._folder), model

    def pieces(self, text: str, size: int) -> list[list[int]]:
        """Overlapping windows of a text's token ids that together hold all of it."""
        tokenizer, _ = self._model
        # A text that spells `[SEP]` must not end the request there: it is read as the letters.
        plainly = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        return windows(tokenizer(text, **plainly)["input_ids"], size)

    def logits(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Floats:
        """Shape (len(pairs), 2 + categories), for token ids of requests and of texts."""
        import torch

        tokenizer, model = self._model
        rows = [encoded(tokenizer, left, right) for left, right in pairs]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]["input_ids"]))
        width = len(self._weights.tensors["head.bias"])
        out = np.zeros((len(rows), width), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            batch = tokenizer.pad([rows[place] for place in places], return_tensors="pt")
            with torch.inference_mode():
                hidden = model(**batch).last_hidden_state
                found = head(pooled(hidden, batch["attention_mask"]), self._weights.tensors)
            out[places] = found.float().numpy()
        return out


def windows(ids: list[int], size: int) -> list[list[int]]:
    """Stretches of at most `size` that together hold all of it, each with `SHARED` of the last."""
    last = max(0, len(ids) - size)
    return [ids[start : start + size] for start in (*range(0, last, size - SHARED), last)]


def encoded(tokenizer: Any, left: list[int], right: list[int]) -> dict[str, list[int]]:
    """[CLS] request [SEP] text [SEP]; a request alone has one part."""
    first = [tokenizer.cls_token_id, *left, tokenizer.sep_token_id]
    second = [*right, tokenizer.sep_token_id] if right else []
    return {
        "input_ids": first + second,
        "token_type_ids": [0] * len(first) + [1] * len(second),
        "attention_mask": [1] * (len(first) + len(second)),
    }


def pooled(hidden: Any, mask: Any) -> Any:
    """The mean of the tokens beside their maximum: shape (n, 2 × 384)."""
    import torch

    present = mask.unsqueeze(-1)
    mean = (hidden * present).sum(1) / present.sum(1)
    most = hidden.masked_fill(present == 0, float("-inf")).amax(1)
    return torch.cat([mean, most], dim=1)


def head(features: Any, tensors: dict[str, Any]) -> Any:
    """One hidden layer with GELU: shape (n, 2 + categories)."""
    from torch.nn.functional import gelu, linear

    hidden = linear(features, tensors["hidden.weight"].float(), tensors["hidden.bias"].float())
    return linear(gelu(hidden), tensors["head.weight"].float(), tensors["head.bias"].float())


def add(model: Any, tensors: dict[str, Any], scale: float) -> None:
    """Adds each low-rank product to the layer that it changes (LoRA, arXiv 2106.09685, eq. 3)."""
    layers = dict(model.named_modules())
    for name, down in tensors.items():
        if name.endswith(".down"):
            layer = name.removesuffix(".down")
            up = tensors[f"{layer}.up"].float()
            layers[layer].weight.data += scale * (up @ down.float())
