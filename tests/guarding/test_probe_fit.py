"""Laws of training a probe: what can be told apart is, and what was learnt is on its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.errors import ConfigError, DataError
from safeft.guarding import probe_fit
from safeft.guarding.probe import Probe, probability
from safeft.guarding.probe_fit import fit, held_back, logistic, thresholds, worst
from safeft.guarding.probe_guard import ProbeGuard, request_ids, text_ids
from safeft.guarding.rows import common, marks
from safeft.models.files import weights_of
from safeft.records import Prompt, Response

HARM = ("water a plant", "grow a plant", "a plant in the garden")
CALM = ("the and the", "how does one", "and how the user")
Rows = list[tuple[Response, bool]]


def rows(count: int = 60) -> Rows:
    """Answers that their words give away, to requests that do not; each request has both."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        for unsafe, words in ((True, HARM), (False, CALM)):
            text = " ".join(rng.choice(words, 3))
            found.append((Response(Prompt.of(f"how {number}"), text), unsafe))
    return found


@pytest.fixture(scope="module")
def trained(model: Any, tiny_tokenizer: Any, tiny_model: Path) -> Probe:
    """A probe of the toy rows."""
    return fit(model, tiny_tokenizer, rows(), model_name=str(tiny_model), smoothing=0.7)


def test_it_tells_new_rows_apart(
    trained: Probe, model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """As a judge too, by the words of the answer, around one half."""
    trained.save(tmp_path / "probe.json")
    judge = ProbeGuard(tmp_path / "probe.json")
    judge.attach(model, tiny_tokenizer)
    texts = [
        Response(Prompt.of("how else", str(place)), text)
        for place, text in enumerate((*HARM, *CALM))
    ]
    assert [one.unsafe for one in judge(texts)] == [True] * 3 + [False] * 3


def test_the_card_says_what_was_learnt_from_what(trained: Probe, tiny_model: Path) -> None:
    """Model, layer, counts, marks, and how well it tells the rows that fitted no weight."""
    card, given = trained.card, rows()
    assert (card.model, card.revision) == (str(tiny_model), weights_of(str(tiny_model)))
    assert (card.hidden_size, card.smoothing) == (64, 0.7)
    assert common(card.rows, marks(one.text for one, _ in given)) == len(
        {one.text for one, _ in given}
    )
    held = sum(held_back(one.prompt) for one, _ in given)
    assert 0 < held < 60
    assert (card.training["rows"], card.training["unsafe"], card.training["held_back"]) == (
        120,
        60,
        held,
    )
    areas = card.training["auroc_of_means_by_layer"]
    assert list(areas) == ["0", "1"] and areas[str(card.layer)] == max(areas.values())
    measured = card.measured["held_back"]
    assert measured["auroc"] > 0.95 and measured["low"] <= measured["auroc"] <= measured["high"]
    assert (measured["rows"], measured["prompts"]) == (held, held // 2)
    assert 0 < card.thresholds["0.05"] <= card.thresholds["0.01"] <= 1


def test_a_layer_can_be_asked_for(model: Any, tiny_tokenizer: Any, tiny_model: Path) -> None:
    """Then no other is looked at; one that there is not is refused."""
    made = fit(model, tiny_tokenizer, rows(), model_name=str(tiny_model), layers=[0])
    assert made.card.layer == 0 and list(made.card.training["auroc_of_means_by_layer"]) == ["0"]
    with pytest.raises(ConfigError, match=r"layer 2.* has 2, from 0"):
        fit(model, tiny_tokenizer, rows(), model_name=str(tiny_model), layers=[0, 2])


def test_the_same_rows_give_the_same_probe(
    trained: Probe, model: Any, tiny_tokenizer: Any, tiny_model: Path
) -> None:
    """There is no chance in it; whatever else stands in a batch changes nothing but rounding."""
    again = fit(model, tiny_tokenizer, rows()[::-1], model_name=str(tiny_model), smoothing=0.7)
    np.testing.assert_allclose(again.weight, trained.weight, rtol=0.05, atol=0.05)
    assert again.card.measured == trained.card.measured


def test_rows_that_cannot_be_read_are_left_out(
    model: Any, tiny_tokenizer: Any, tiny_model: Path
) -> None:
    """Beyond the model's context, and blank ones; the card counts the others."""
    more: Rows = [
        (Response(Prompt.of("a"), "the " * 999), True),
        (Response(Prompt.of("a"), ""), True),
    ]
    made = fit(model, tiny_tokenizer, rows() + more, model_name=str(tiny_model), layers=[0])
    assert made.card.training["rows"] == 120


@pytest.mark.parametrize("kept", ["one kind", "nothing", "no held back"])
def test_too_few_rows_are_refused(
    model: Any, tiny_tokenizer: Any, tiny_model: Path, kept: str
) -> None:
    """Both kinds must be on both sides."""
    chosen = {
        "one kind": [row for row in rows() if row[1]],
        "nothing": [],
        "no held back": [row for row in rows() if not held_back(row[0].prompt)],
    }[kept]
    with pytest.raises(DataError, match=f"{len(chosen)} rows are too few"):
        fit(model, tiny_tokenizer, chosen, model_name=str(tiny_model))


def test_a_probe_that_tells_the_wrong_way_round_is_refused(
    model: Any, tiny_tokenizer: Any, tiny_model: Path
) -> None:
    """Labels of the rows that are held back are the opposite of what the others taught."""
    turned = [(one, unsafe ^ held_back(one.prompt)) for one, unsafe in rows()]
    with pytest.raises(DataError, match="are their labels right"):
        fit(model, tiny_tokenizer, turned, model_name=str(tiny_model))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_the_regression_is_at_its_least_loss(seed: int, width: int) -> None:
    """No step in any direction lowers the loss by its definition: both kinds weigh the same."""
    rng = np.random.default_rng(seed)
    features = rng.normal(rng.normal(0, 5), rng.uniform(0.1, 9, width), (60, width))
    truth = np.arange(60) < 12

    def loss(weight: Any, bias: float) -> float:
        chance = np.logaddexp(0, -np.where(truth, 1, -1) * (features @ weight + bias))
        scaled = weight * (features.std(0) + 1e-6)
        return float(
            chance[truth].mean() / 2 + chance[~truth].mean() / 2 + 0.01 * scaled @ scaled / 2
        )

    weight, bias = logistic(features, truth, 0.01)
    least = loss(weight, bias)
    for _ in range(20):
        step = rng.normal(0, 0.03, width + 1)
        assert loss(weight + step[:-1] / features.std(0), bias + step[-1]) >= least - 1e-6


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=200))
def test_at_most_its_share_of_safe_answers_reaches_a_threshold(safe: list[int]) -> None:
    """And those of its card's keys, with ties."""
    logits = np.array([*map(float, safe), 99.0])
    truth = np.arange(len(logits)) == len(safe)
    for share, line in thresholds(truth, logits).items():
        flagged = sum(probability(one) >= line for one in safe)
        assert flagged <= float(share) * len(safe)


def test_scores_are_the_largest_smoothed_logits(
    trained: Probe, model: Any, tiny_tokenizer: Any
) -> None:
    """Which is what a judge of this probe would say of the whole answer."""
    asked = request_ids(tiny_tokenizer, Prompt.of("how"), "tiny")
    texts = [(asked, text_ids(tiny_tokenizer, one)) for one in (HARM[0], CALM[0])]
    found = worst(trained, model, texts)
    for logit, one in zip(found, texts, strict=True):
        (logits,) = probe_fit.token_logits(model, trained, [one])
        assert logit == pytest.approx(trained.smoothed(logits).max())
    assert found[0] > found[1]
