"""Laws of categories from examples: the nearest sentence decides, by one documented line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.errors import ConfigError
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.examples import ExamplesGuard, pieces
from safeft.guarding.policy import Stage
from safeft.models.encoder import encode
from safeft.records import Message, Prompt, Response

EXAMPLES = {
    "investment_advice": ["You should buy this stock now.", "Sell your shares before Friday."],
    "competitors": ["Our competitor's phone is better than ours."],
}
FAR = ["Water boils at a hundred degrees.", "The cat sleeps on the sofa.", "Bread needs yeast."]
NEAR = ["You ought to buy the shares today.", "Sell all your stock on Thursday."]
SENTENCES = st.sampled_from([*FAR, *NEAR, *EXAMPLES["investment_advice"]])


@pytest.fixture(scope="module")
def judge() -> ExamplesGuard:
    return ExamplesGuard(EXAMPLES)


def scores(judge: ExamplesGuard, text: str) -> dict[str, float]:
    """Of a text that wants to leave."""
    return judge([Response(Prompt.of("What now?"), text)])[0].scores


@pytest.mark.parametrize("sentence", [one for group in EXAMPLES.values() for one in group])
def test_an_example_scores_one_wherever_it_stands(judge: ExamplesGuard, sentence: str) -> None:
    """One sentence of a long text is enough, and its category alone is sure."""
    kind = next(name for name, sentences in EXAMPLES.items() if sentence in sentences)
    found = scores(judge, f"{FAR[0]} {sentence}\n{FAR[1]}")
    assert found[kind] == 1.0
    assert max(one for name, one in found.items() if name != kind) < 0.5


def test_what_is_far_is_safe_and_what_is_near_is_not(judge: ExamplesGuard) -> None:
    """Sentences that share neither words nor topic stay below, paraphrases do not."""
    far, near = (
        judge([Response(Prompt.of("What now?"), text) for text in texts]) for texts in (FAR, NEAR)
    )
    assert {one.unsafe for one in far} == {False}
    assert {one.unsafe for one in near} == {True}


def test_the_score_is_the_documented_line(judge: ExamplesGuard) -> None:
    """(cosine − 0.2) / 0.6 between 0 and 1, by hand from the encoder's unit vectors."""
    for text in (*FAR, *NEAR):
        for name, sentences in EXAMPLES.items():
            cosine = float((encode([text]) @ encode(sentences).T).max())
            wanted = float(np.clip((cosine - 0.2) / 0.6, 0, 1))
            assert scores(judge, text)[name] == pytest.approx(wanted, abs=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.lists(SENTENCES, min_size=1, max_size=4), SENTENCES)
def test_more_sentences_never_lower_a_score(texts: list[str], more: str) -> None:
    """What was said stays said."""
    judge = ExamplesGuard(EXAMPLES)
    before, after = scores(judge, " ".join(texts)), scores(judge, " ".join([*texts, more]))
    assert all(after[name] >= before[name] - 1e-6 for name in EXAMPLES)


def test_a_category_does_not_change_another(judge: ExamplesGuard) -> None:
    """Added, it leaves the scores of the others as they are."""
    more = ExamplesGuard({**EXAMPLES, "bread": ["Bread needs flour and yeast."]})
    for text in (*FAR, *NEAR):
        kept = {name: scores(more, text)[name] for name in EXAMPLES}
        assert kept == pytest.approx(scores(judge, text), abs=1e-6)


@pytest.mark.parametrize("text", ["", " \n", "…!?", "👍"])
def test_a_text_without_a_letter_scores_nothing(judge: ExamplesGuard, text: str) -> None:
    """There is no sentence to compare."""
    found = judge([Response(Prompt.of("What now?"), text)])[0]
    assert found.unsafe is False and set(found.scores.values()) == {0.0}


def test_the_answer_and_the_last_turn_are_what_is_read(judge: ExamplesGuard) -> None:
    """Order is kept; an earlier turn was read when it came."""
    bad, good = EXAMPLES["investment_advice"][0], FAR[0]
    found = judge([Response(Prompt.of(bad, "a"), good), Response(Prompt.of(good, "b"), bad)])
    assert [(one.prompt_id, one.unsafe) for one in found] == [("a", False), ("b", True)]
    later = Prompt("c", (Message("user", bad), Message("assistant", "No."), Message("user", good)))
    asked = judge.requests([later, Prompt.of(bad, "d")])
    assert [(one.prompt_id, one.unsafe) for one in asked] == [("c", False), ("d", True)]
    assert judge([]) == []


@given(st.text("abc .!?\n。é 7", max_size=400))
def test_the_pieces_hold_every_word_in_order(text: str) -> None:
    """Nothing that could be near an example is skipped, and no piece is too long to be read."""
    found = pieces(text)
    kept = "".join(one for piece in found for one in piece if one.isalnum())
    assert kept == "".join(one for one in text if one.isalnum())
    assert all(0 < len(piece.split()) <= 50 for piece in found)


def test_the_name_changes_with_the_examples() -> None:
    """And with nothing else: the order of the categories decides no score."""
    names = {ExamplesGuard(one).name for one in (EXAMPLES, {**EXAMPLES, "more": ["More."]})}
    changed = {**EXAMPLES, "competitors": ["Theirs is better."]}
    assert len({*names, ExamplesGuard(changed).name}) == 3
    turned = dict(reversed(EXAMPLES.items()))
    assert ExamplesGuard(turned).name == ExamplesGuard(EXAMPLES).name


def test_a_policys_stage_brings_its_own() -> None:
    """Loaded by the name that a policy gives, with the policy's categories in its order."""
    judge = load_guard_judge("output", Stage(judge="examples", examples=EXAMPLES))
    assert judge.categories == ("investment_advice", "competitors")
    for wrong in ({}, {"empty": []}):
        with pytest.raises(ConfigError, match="needs a sentence for each category"):
            ExamplesGuard(wrong)
