"""A model and references become a scorer of rows, with how well it tells the references apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from safeft.data import Example
from safeft.data.masks import Encoded, encode
from safeft.errors import DataError
from safeft.stats.discrimination import auroc_interval
from safeft.training.erosion.gradient import Projected, opposition
from safeft.training.erosion.references import LEAST, References
from safeft.training.erosion.representation import likeness, states

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safeft.stats import Interval

    Floats = NDArray[np.float64]

Kind = Literal["gradient", "representation"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Scorer:
    """Scores rows: the higher, the more a row is like complying and the less like refusing.

    `complied` and `refused` are the references' own scores, each against the other pairs;
    `separation` is the AUROC between them. `layer` is the one that is read, 0 for gradients;
    `distances` has, by layer, how many standard deviations lie between the two kinds.
    """

    score: Callable[[Sequence[Encoded]], Floats]
    complied: tuple[float, ...]
    refused: tuple[float, ...]
    separation: Interval
    layer: int = 0
    distances: tuple[float, ...] = ()


def scorer(
    kind: Kind, model: Any, tokenizer: Any, references: References, max_length: int
) -> Scorer:
    """The scorer of one kind. Rows without a trained token are scored NaN.

    Raises DataError when too few references have an answer within `max_length` tokens, ModelError
    when the model's template refuses one, or when no gradient can be taken.
    """
    complied, refused = _encoded(references, tokenizer, max_length)
    return (_representation if kind == "representation" else _gradient)(model, complied, refused)


def _encoded(
    references: References, tokenizer: Any, max_length: int
) -> tuple[list[Encoded], list[Encoded]]:
    """The pairs of which both have an answer to read."""

    def tokens(one: Example) -> Encoded:
        return encode(one, tokenizer, max_length)

    pairs = zip(map(tokens, references.complied), map(tokens, references.refused), strict=True)
    usable = [(one, two) for one, two in pairs if any(one.loss_mask) and any(two.loss_mask)]
    if len(usable) < LEAST:
        raise DataError(
            f"references: of {len(references)} pairs {len(usable)} have an answer within "
            f"{max_length} tokens; raise --max-length, or give shorter ones"
        )
    return [one for one, _ in usable], [two for _, two in usable]


def _representation(model: Any, complied: Sequence[Encoded], refused: Sequence[Encoded]) -> Scorer:
    """At the layer whose scores tell the references apart best; the embeddings are no layer.

    Chosen without labels of the rows, in the spirit of DataShield's compliance vector
    (arXiv 2606.00160): the largest standardised difference, as every layer may reach an AUROC of 1.
    """
    complied_LMD, refused_LMD = states(model, complied), states(model, refused)
    scored = [
        (likeness(yes, yes, no, paired=True), likeness(no, yes, no, paired=True))
        for yes, no in zip(complied_LMD, refused_LMD, strict=True)
    ]
    distances = tuple(_distance(yes, no) for yes, no in scored)
    layer = 1 + int(np.argmax(distances[1:]))

    def score(rows: Sequence[Encoded]) -> Floats:
        return likeness(states(model, rows)[layer], complied_LMD[layer], refused_LMD[layer])

    return _scorer(score, *scored[layer], layer=layer, distances=distances)


def _gradient(model: Any, complied: Sequence[Encoded], refused: Sequence[Encoded]) -> Scorer:
    """Refusals alone are the anchors; compliance only tells how well they work."""
    projected = Projected.of(model)
    complied_MK, refused_MK = projected.gradients(complied), projected.gradients(refused)

    def score(rows: Sequence[Encoded]) -> Floats:
        return opposition(projected.gradients(rows), refused_MK)

    complying = opposition(complied_MK, refused_MK, paired=True)
    return _scorer(score, complying, opposition(refused_MK, refused_MK, paired=True))


def _scorer(
    score: Callable[[Sequence[Encoded]], Floats],
    complied: Floats,
    refused: Floats,
    layer: int = 0,
    distances: tuple[float, ...] = (),
) -> Scorer:
    truth = np.array([True] * len(complied) + [False] * len(refused))
    pairs = [*range(len(complied)), *range(len(refused))]
    told = auroc_interval(truth, np.concatenate([complied, refused]), pairs)
    return Scorer(score, tuple(complied), tuple(refused), told, layer, distances)


def _distance(complied: Floats, refused: Floats) -> float:
    """Cohen's d: the difference of the means by the pooled standard deviation."""
    spread = np.sqrt((complied.var(ddof=1) + refused.var(ddof=1)) / 2)
    return float((complied.mean() - refused.mean()) / max(float(spread), 1e-12))
