"""Likeness of gradients: whether a step on a row would make the model's own refusals less likely.

A step against a row's gradient g raises the loss of the refusals by about -g · r, where r is
theirs (first-order influence, TracIn, arXiv 2002.08484). The score is -cos(g, r), with r the mean
of the refused references' unit-long gradients, over every matrix of the model's layers; no adapter
is needed. He et al. (arXiv 2404.01099, from memory) match gradients with harmful anchors as well;
bare openings as such anchors made the score worse on the testbed (benchmarks/LOG.md).

Each matrix G becomes L G R with fixed random L and R, which keeps inner products in the mean
(Johnson-Lindenstrauss): a row costs 1,024 numbers a matrix, and one matrix's gradient at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safeft.data.masks import Encoded
from safeft.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SIDE = 32  # rows and columns of a projected gradient
SEED = 0
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Projected:
    """A model's matrices by name, and the two random ones that shrink the gradient of each."""

    model: Any
    weights: Mapping[str, Any]
    sides: Mapping[str, tuple[Any, Any]]

    @classmethod
    def of(cls, model: Any) -> Projected:
        """Raises ModelError for a model without such matrices, e.g. a quantised one."""
        import torch

        weights = matrices(model)
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

        The loss is the mean over the trained tokens.
        """
        import torch

        trained = [place for place, one in enumerate(row.loss_mask) if one and place]
        if not trained:
            return np.full(len(self.weights) * SIDE**2, np.nan)
        ids = torch.tensor(row.ids[: trained[-1] + 1], device=self.model.device)
        with torch.enable_grad(), self._listening() as parts:
            logits = self.model(input_ids=ids[None], use_cache=False).logits[0].float()
            before = torch.tensor(trained, device=ids.device) - 1
            loss: Any = torch.nn.functional.cross_entropy(logits[before], ids[before + 1])
            loss.backward()
        whole = torch.cat([parts[name].flatten() for name in self.weights])
        gradient: Floats = whole.cpu().numpy().astype(np.float64)
        return gradient

    @contextmanager
    def _listening(self) -> Iterator[dict[str, Any]]:
        """Gradients as they come, projected and dropped: never two whole ones at a time."""
        parts: dict[str, Any] = {}

        def listener(name: str) -> Any:
            left, right = self.sides[name]

            def take(weight: Any) -> None:
                parts[name] = left @ weight.grad.float() @ right
                weight.grad = None

            return take

        hooks = [
            weight.register_post_accumulate_grad_hook(listener(name))
            for name, weight in self.weights.items()
        ]
        try:
            yield parts
        finally:
            for hook in hooks:
                hook.remove()

    def gradients(self, encoded: Sequence[Encoded]) -> Floats:
        """One projected gradient a row, shape (rows, matrices × 1,024)."""
        return np.array([self.gradient(one) for one in encoded])


def matrices(model: Any) -> dict[str, Any]:
    """The weights of two dimensions in the model's layers, which alone get gradients.

    Raises ModelError when there are none that a gradient can be taken of.
    """
    found = {}
    for name, weight in model.named_parameters():
        floats = weight.is_floating_point()
        usable = bool(_LAYER.search(name)) and weight.ndim == 2 and floats
        if usable:
            found[name] = weight
        if floats:
            weight.requires_grad_(usable)
    if not found:
        raise ModelError(
            "the model's layers hold no matrices that a gradient can be taken of; load it "
            "unquantised, or score rows by --score representation"
        )
    return found


def opposition(rows_NK: Floats, refused_MK: Floats, *, paired: bool = False) -> Floats:
    """Minus the cosine to the mean refused gradient, shape (N,).

    References count alike, whatever the length of their gradients. `paired` leaves a row's own
    number out of the mean: the rows are references themselves.
    """
    total_NK = _unit(refused_MK).sum(axis=0)[None].repeat(len(rows_NK), axis=0)
    if paired:
        total_NK = total_NK - _unit(refused_MK)
    cosine: Floats = (_unit(rows_NK) * _unit(total_NK)).sum(axis=1)
    return -cosine


def _unit(rows_NK: Floats) -> Floats:
    length = np.linalg.norm(rows_NK, axis=1, keepdims=True)
    unit: Floats = rows_NK / np.maximum(length, 1e-12)
    return unit
