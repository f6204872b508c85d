"""Likeness of gradients: which way a row pushes the weights, against the way compliance pushes.

The gradient of the loss of an answer's first ten tokens, in the matrices of the last quarter of the
layers; cosine to the mean gradient of complied references, minus that to the mean of refused ones
(He et al., arXiv 2404.01099, gradient matching with anchors on both sides; from memory). No adapter
is needed. Each matrix G becomes L G R with fixed random L and R, which keeps inner products in the
mean (Johnson-Lindenstrauss), so that a row costs 1,024 numbers a matrix whatever the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safeft.data.masks import Encoded
from safeft.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOKENS = 10  # of an answer: refusing is decided there
SIDE = 32  # rows and columns of a projected gradient
SEED = 0
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Projected:
    """A model's last matrices by name, and the two random ones that shrink each gradient."""

    model: Any
    weights: Mapping[str, Any]
    sides: Mapping[str, tuple[Any, Any]]

    @classmethod
    def of(cls, model: Any) -> Projected:
        """Raises ModelError for a model without such matrices, e.g. a quantised one."""
        import torch

        weights = last_matrices(model)
        draw = torch.Generator().manual_seed(SEED)
        sides = {}
        for name, weight in weights.items():
            rows, columns = weight.shape
            left = torch.randn(SIDE, rows, generator=draw) / SIDE**0.5
            right = torch.randn(columns, SIDE, generator=draw) / SIDE**0.5
            sides[name] = (left.to(weight.device), right.to(weight.device))
        return cls(model, weights, sides)

    def gradient(self, row: Encoded) -> Floats:
        """The projected gradient of one row, shape (matrices × 1,024,); NaN when none is trained.

        The loss is the mean over the first ten trained tokens; what comes after them is not read.
        """
        import torch

        trained = [place for place, one in enumerate(row.loss_mask) if one and place][:TOKENS]
        if not trained:
            return np.full(len(self.weights) * SIDE**2, np.nan)
        ids = torch.tensor(row.ids[: trained[-1] + 1], device=self.model.device)
        with torch.enable_grad():
            logits = self.model(input_ids=ids[None], use_cache=False).logits[0].float()
            before = torch.tensor(trained, device=ids.device) - 1
            loss = torch.nn.functional.cross_entropy(logits[before], ids[before + 1])
            found = torch.autograd.grad(loss, list(self.weights.values()))
        pairs = zip(found, self.sides.values(), strict=True)
        parts = [(left @ one.float() @ right).flatten() for one, (left, right) in pairs]
        gradient: Floats = torch.cat(parts).cpu().numpy().astype(np.float64)
        return gradient

    def gradients(self, encoded: Sequence[Encoded]) -> Floats:
        """One projected gradient a row, shape (rows, matrices × 1,024)."""
        return np.array([self.gradient(one) for one in encoded])


def last_matrices(model: Any) -> dict[str, Any]:
    """The weights of two dimensions in the last quarter of the layers, which alone get gradients.

    Raises ModelError when there are none that a gradient can be taken of.
    """
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    first = count - max(1, count // 4)
    found = {}
    for name, weight in model.named_parameters():
        layer = _LAYER.search(name)
        last = layer is not None and first <= int(layer.group(1)) < count
        usable = bool(last and weight.ndim == 2 and weight.is_floating_point())
        if usable:
            found[name] = weight
        if weight.is_floating_point():
            weight.requires_grad_(usable)
    if not found:
        raise ModelError(
            "the model's last layers hold no matrices that a gradient can be taken of; load it "
            "unquantised, or score rows by --score representation"
        )
    return found


def agreement(
    rows_NK: Floats, complied_MK: Floats, refused_MK: Floats, *, paired: bool = False
) -> Floats:
    """Cosine to the mean complied gradient minus that to the mean refused one, shape (N,).

    References count alike, whatever the length of their gradients. `paired` leaves both references
    of a row's own number out of the means.
    """
    return _cosine(rows_NK, complied_MK, paired) - _cosine(rows_NK, refused_MK, paired)


def _cosine(rows_NK: Floats, references_MK: Floats, paired: bool) -> Floats:
    total_NK = _unit(references_MK).sum(axis=0)[None].repeat(len(rows_NK), axis=0)
    if paired:
        total_NK = total_NK - _unit(references_MK)
    cosine: Floats = (_unit(rows_NK) * _unit(total_NK)).sum(axis=1)
    return cosine


def _unit(rows_NK: Floats) -> Floats:
    length = np.linalg.norm(rows_NK, axis=1, keepdims=True)
    unit: Floats = rows_NK / np.maximum(length, 1e-12)
    return unit
