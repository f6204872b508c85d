"""Gradients of answers, shrunk without losing inner products; what a step on a row would cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from safeft.data.masks import Encoded
from safeft.errors import ModelError
from safeft.training.erosion.gradient import SIDE, Projected, matrices, opposition


def row(*ids: int, trained: int = 3) -> Encoded:
    """Tokens of which the last few are trained."""
    return Encoded(ids, tuple(len(ids) - place <= trained for place in range(len(ids))), False)


def loss(model: Any, one: Encoded) -> Any:
    """The mean loss of the trained tokens."""
    pairs = zip(one.ids, one.loss_mask, strict=True)
    labels = [token if trained else -100 for token, trained in pairs]
    return model(input_ids=torch.tensor([one.ids]), labels=torch.tensor([labels])).loss


def test_only_the_layers_matrices_get_gradients(model: Any) -> None:
    """Seven a layer; no norms, embeddings or heads."""
    found = matrices(model)
    assert {name.split(".")[2] for name in found} == {"0", "1", "2", "3"}
    assert len(found) == 28
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


def test_no_gradient_stays_behind(model: Any) -> None:
    """Nor a hook: a row's gradient does not depend on the rows before it."""
    projected = Projected.of(model)
    first = projected.gradient(row(5, 6, 7, 8, 9))
    projected.gradient(row(50, 60, 70, 80, 90))
    np.testing.assert_array_equal(projected.gradient(row(5, 6, 7, 8, 9)), first)
    assert all(one.grad is None for one in model.parameters())
    assert not any(one._post_accumulate_grad_hooks for one in model.parameters())


def test_a_step_on_the_highest_scored_row_costs_refusals_most(model: Any) -> None:
    """What the score promises, measured: the loss of a refusal after one small step on each row."""
    refusal, rows = (
        row(5, 6, 7, 8, 9),
        [row(place, place + 9, 7, place + 3) for place in (20, 30, 40)],
    )
    projected = Projected.of(model)
    scores = opposition(projected.gradients(rows), projected.gradients([refusal]))
    losses = []
    for one in rows:
        own = {name: weight.detach().clone() for name, weight in projected.weights.items()}
        loss(model, one).backward()
        length = sum(float((w.grad**2).sum()) for w in projected.weights.values()) ** 0.5
        with torch.no_grad():
            for weight in projected.weights.values():
                weight -= 1e-3 / length * weight.grad
            losses.append(float(loss(model, refusal)))
            for name, weight in projected.weights.items():
                weight.copy_(own[name])
                weight.grad = None
    assert np.argsort(losses).tolist() == np.argsort(scores).tolist()


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


def test_opposition_is_minus_a_cosine() -> None:
    """To the mean of unit-long references; lengths do not count, and none meets itself."""
    draw = np.random.default_rng(0)
    rows, refused = draw.normal(size=(4, 6)), draw.normal(size=(9, 6))

    def cosine(one: Any, references: Any) -> float:
        mean = np.mean([x / np.linalg.norm(x) for x in references], axis=0)
        return float(one @ mean / np.linalg.norm(one) / np.linalg.norm(mean))

    expected = [-cosine(one, refused) for one in rows]
    np.testing.assert_allclose(opposition(rows, refused), expected)
    np.testing.assert_allclose(opposition(3 * rows, 5 * refused), expected)
    left_out = opposition(refused, refused, paired=True)
    for place in range(9):
        others = [one for one in range(9) if one != place]
        assert left_out[place] == pytest.approx(opposition(refused[[place]], refused[others])[0])


def test_a_model_without_such_matrices_is_refused(model: Any) -> None:
    """As quantised weights have none: named, with the way out."""
    for layer in model.model.layers:
        for name, one in list(layer.named_parameters()):
            whole = torch.nn.Parameter(one.data.to(torch.int8), requires_grad=False)
            parent, _, last = name.rpartition(".")
            setattr(layer.get_submodule(parent), last, whole)
    with pytest.raises(ModelError, match="score rows by --score representation"):
        matrices(model)
