"""A scorer tells compliance from refusal, and says how well it does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from safeft.data import Example
from safeft.data.masks import Encoded, encode
from safeft.errors import DataError
from safeft.records import Message
from safeft.training.erosion import KINDS, Kind, References, scorer
from safeft.training.erosion.scoring import _distance


def encoded(tokenizer: Any, answer: str) -> Encoded:
    """A row's tokens."""
    turns = Message("user", "how 99"), Message("assistant", answer)
    return encode(Example(turns, 1, "rows"), tokenizer, 96)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_like_compliance_score_higher(
    kind: Kind, model: Any, tiny_tokenizer: Any, references: References
) -> None:
    """Answers in the references' words, to a request that is none of theirs."""
    made = scorer(kind, model, tiny_tokenizer, references, 96)
    rows = [encoded(tiny_tokenizer, one) for one in ("water a plant", "the user 99")]
    complying, refusing = made.score(rows)
    assert complying > refusing
    assert len(made.complied) == len(made.refused) == 12
    assert made.separation.n == 12
    assert made.separation.low <= made.separation.estimate <= made.separation.high


def test_the_layer_is_the_one_that_tells_best(
    model: Any, tiny_tokenizer: Any, references: References
) -> None:
    """By the distance between the kinds, one for each layer; never the embeddings."""
    made = scorer("representation", model, tiny_tokenizer, references, 96)
    assert len(made.distances) == 5
    assert made.layer == 1 + int(np.argmax(made.distances[1:]))
    own = _distance(np.array(made.complied), np.array(made.refused))
    assert own == pytest.approx(made.distances[made.layer])


@pytest.mark.parametrize("kind", KINDS)
def test_references_that_say_the_same_are_not_told_apart(
    kind: Kind, model: Any, tiny_tokenizer: Any, references: References
) -> None:
    """Each is left out of its own comparison, so that the interval holds one half."""
    same = replace(references, complied=references.refused)
    made = scorer(kind, model, tiny_tokenizer, same, 96)
    assert made.separation.low <= 0.5 <= made.separation.high


def test_a_row_without_an_answer_has_no_score(
    model: Any, tiny_tokenizer: Any, references: References
) -> None:
    """It is cut before the answer begins."""
    bare = replace(encoded(tiny_tokenizer, "water"), loss_mask=())
    none = Encoded(bare.ids, (False,) * len(bare.ids), True)
    for kind in KINDS:
        made = scorer(kind, model, tiny_tokenizer, references, 96)
        [score] = made.score([none])
        assert math.isnan(score)


def test_references_beyond_the_length_are_refused(
    model: Any, tiny_tokenizer: Any, references: References
) -> None:
    """Nothing would be left to compare with."""
    with pytest.raises(DataError, match="of 12 pairs 0 have an answer within 4 tokens"):
        scorer("representation", model, tiny_tokenizer, references, 4)


def test_a_distance_counts_standard_deviations() -> None:
    """Of both kinds pooled."""
    assert _distance(np.array([3.0, 5.0]), np.array([0.0, 2.0])) == pytest.approx(3 / 2**0.5)
