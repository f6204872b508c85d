"""Gradients of the first answer tokens in the last layers, shrunk without losing inner products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from safeft.data.masks import Encoded
from safeft.errors import ModelError
from safeft.training.erosion.gradient import SIDE, TOKENS, Projected, agreement, last_matrices


def row(*ids: int, trained: int = 3) -> Encoded:
    """Tokens of which the last few are trained."""
    return Encoded(ids, tuple(len(ids) - place <= trained for place in range(len(ids))), False)


def test_only_the_last_quarter_gets_gradients(model: Any) -> None:
    """One of four layers: its matrices, and no norms, embeddings or heads."""
    found = last_matrices(model)
    assert {name.split(".")[2] for name in found} == {"3"}
    assert len(found) == 7
    assert {name for name, one in model.named_parameters() if one.requires_grad} == set(found)


def test_the_gradient_is_autograds_own(model: Any) -> None:
    """Of the mean loss over the trained tokens, projected from both sides."""
    projected = Projected.of(model)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    labels = torch.tensor([[-100, -100, 7, 8, 9]])
    loss = model(input_ids=ids, labels=labels).loss
    expected = torch.autograd.grad(loss, list(projected.weights.values()))
    found = projected.gradient(row(5, 6, 7, 8, 9)).reshape(-1, SIDE, SIDE)
    pairs = zip(expected, projected.sides.values(), strict=True)
    for one, (own, (left, right)) in zip(found, pairs, strict=True):
        np.testing.assert_allclose(one, (left @ own @ right).numpy(), rtol=1e-3, atol=1e-6)


def test_only_the_first_answer_tokens_count(model: Any) -> None:
    """What comes after ten of them changes nothing."""
    projected = Projected.of(model)
    answer = list(range(20, 20 + TOKENS))
    short = projected.gradient(row(5, 6, *answer, trained=TOKENS))
    long = projected.gradient(row(5, 6, *answer, 77, 78, 79, trained=TOKENS + 3))
    np.testing.assert_allclose(long, short, rtol=1e-4, atol=1e-7)


def test_projections_keep_inner_products(model: Any) -> None:
    """In the mean over draws of the two random matrices (Johnson-Lindenstrauss)."""
    draw = torch.Generator().manual_seed(3)
    one, other = (torch.randn(64, 128, generator=draw) for _ in range(2))
    other = other + one
    products = []
    for _ in range(200):
        left = torch.randn(SIDE, 64, generator=draw) / SIDE**0.5
        right = torch.randn(128, SIDE, generator=draw) / SIDE**0.5
        products.append(float(((left @ one @ right) * (left @ other @ right)).sum()))
    exact = float((one * other).sum())
    error = float(np.std(products)) / len(products) ** 0.5
    assert abs(np.mean(products) - exact) < 4 * error
    assert error < 0.1 * exact


def test_a_row_without_an_answer_has_no_gradient(model: Any) -> None:
    """NaN; a first token that is trained has nothing before it to be predicted from."""
    projected = Projected.of(model)
    assert np.isnan(projected.gradients([row(5, 6, trained=0)])).all()
    assert np.isnan(projected.gradient(row(5, trained=1))).all()


def test_agreement_is_a_difference_of_cosines() -> None:
    """To the means of unit-long references; their own lengths do not count."""
    draw = np.random.default_rng(0)
    rows, complied, refused = (draw.normal(size=(n, 6)) for n in (4, 9, 9))

    def cosine(one: Any, references: Any) -> float:
        mean = np.mean([x / np.linalg.norm(x) for x in references], axis=0)
        return float(one @ mean / np.linalg.norm(one) / np.linalg.norm(mean))

    expected = [cosine(one, complied) - cosine(one, refused) for one in rows]
    np.testing.assert_allclose(agreement(rows, complied, refused), expected)
    np.testing.assert_allclose(agreement(rows, 5 * complied, refused), expected)
    left_out = agreement(complied, complied, refused, paired=True)
    for place in range(9):
        others = [one for one in range(9) if one != place]
        alone = agreement(complied[[place]], complied[others], refused[others])
        assert left_out[place] == pytest.approx(alone[0])


def test_a_model_without_such_matrices_is_refused(model: Any) -> None:
    """As quantised weights have none: named, with the way out."""
    for layer in model.model.layers:
        for name, one in list(layer.named_parameters()):
            whole = torch.nn.Parameter(one.data.to(torch.int8), requires_grad=False)
            parent, _, last = name.rpartition(".")
            setattr(layer.get_submodule(parent), last, whole)
    with pytest.raises(ModelError, match="score rows by --score representation"):
        last_matrices(model)
