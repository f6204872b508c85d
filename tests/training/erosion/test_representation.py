"""States are read where the last trained token is; scores are LARF's formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from safeft.data.masks import Encoded
from safeft.training.erosion import representation
from safeft.training.erosion.representation import TOP, likeness, states


def row(*ids: int, trained: int = 1, after: int = 0) -> Encoded:
    """Tokens of which the last few but `after` are trained."""
    rest = len(ids) - after
    mask = [rest - trained <= place < rest for place in range(len(ids))]
    return Encoded(ids, tuple(mask), False)


def test_states_are_the_models_own(model: Any) -> None:
    """Each row alone, without padding, at its last trained token: what follows changes nothing."""
    rows = [row(5, 6, 7, 8), row(9, 10), row(5, 6, 7, 8, 250, 251, after=2)]
    found = states(model, rows)
    assert found.shape == (5, 3, 64)
    for place, ids in enumerate(([5, 6, 7, 8], [9, 10], [5, 6, 7, 8])):
        with torch.inference_mode():
            out = model.model(torch.tensor([ids]), output_hidden_states=True)
        for layer, hidden in enumerate(out.hidden_states):
            np.testing.assert_allclose(found[layer, place], hidden[0, -1].numpy(), atol=1e-4)


def test_batches_do_not_change_states(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time is the same as all at once."""
    rows = [row(*range(5, 5 + length)) for length in (3, 40, 7, 12)]
    together = states(model, rows)
    monkeypatch.setattr(representation, "AT_ONCE", 1)
    np.testing.assert_allclose(states(model, rows), together, atol=1e-4)


def test_a_row_without_an_answer_has_no_state(model: Any) -> None:
    """NaN, and so is its score; its neighbours keep theirs."""
    found = states(model, [row(5, 6, trained=0), row(5, 6)])
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()
    some = np.eye(3, 64)
    scores = likeness(found[1], some, some + 0.1)
    assert np.isnan(scores[0])
    assert np.isfinite(scores[1])


def test_likeness_is_the_formula() -> None:
    """Mean of the k largest cosines to complied references minus that to refused ones."""
    draw = np.random.default_rng(0)
    rows, complied, refused = (draw.normal(size=(n, 8)) for n in (5, TOP + 9, TOP + 4))

    def mean(one: Any, references: Any) -> float:
        cosines = [one @ x / np.linalg.norm(one) / np.linalg.norm(x) for x in references]
        return float(np.mean(sorted(cosines)[-TOP:]))

    expected = [mean(one, complied) - mean(one, refused) for one in rows]
    np.testing.assert_allclose(likeness(rows, complied, refused), expected)
    # The length of a state does not matter.
    np.testing.assert_allclose(likeness(7 * rows, complied, refused), expected)


def test_a_reference_is_not_compared_with_its_own_pair() -> None:
    """Otherwise each would find itself, and the two kinds would always be told apart."""
    draw = np.random.default_rng(1)
    complied, refused = draw.normal(size=(12, 8)), draw.normal(size=(12, 8))
    found = likeness(complied, complied, refused, paired=True)
    for place in range(12):
        others = [one for one in range(12) if one != place]
        alone = likeness(complied[[place]], complied[others], refused[others])
        assert found[place] == pytest.approx(alone[0])
