"""What the guard found, in OpenAI's shapes: read by OpenAI's own types."""

from __future__ import annotations

import math

from openai.types import moderation as openai_moderation
from openai.types.chat.chat_completion import Moderation

from safeft.guarding.decision import Decision
from safeft.serve.moderation import OPENAI_CATEGORIES, listed, moderation, result, strongest

CLEAR = Decision("output", "allow", False, "fraud", 0.2, "judge@1")
HIGH = Decision("output", "block", True, "fraud", 0.9, "judge@1")
LOGGED = Decision("output", "log", False, "spam", 0.7, "judge@1")
LOST = Decision("output", "block", None, error="timeout", judge="judge@1")
OPEN = Decision("output", "allow", None, error="timeout", judge="judge@1", released=True)


def test_the_highest_score_of_each_category_is_told() -> None:
    """Over the windows of a text, whatever came last; logged is flagged, though it may leave."""
    found = result([CLEAR, HIGH, CLEAR, LOGGED])
    assert found["category_scores"] == {"fraud": 0.9, "spam": 0.7}
    assert found["categories"] == {"fraud": True, "spam": True} and found["flagged"]
    assert not result([CLEAR])["flagged"]
    assert result([Decision("output")])["category_scores"] == {}


def test_a_chat_completion_carries_it() -> None:
    """One result for the request, one for each choice."""
    read = Moderation.model_validate(moderation([CLEAR], [[HIGH], [CLEAR, LOGGED]]))
    assert read.input.type == "moderation_results" and len(read.input.results) == 1
    assert read.output.type == "moderation_results"
    assert [one.flagged for one in read.output.results] == [True, True]
    assert read.output.model == "judge@1"
    empty = Moderation.model_validate(moderation([], []))
    assert empty.input.type == "moderation_results" and empty.input.results == []


def test_a_failure_is_a_value_of_its_own() -> None:
    """Never a result that says nothing was found, nor one that says something was."""
    for lost in (LOST, OPEN):
        read = Moderation.model_validate(moderation([CLEAR], [[CLEAR], [lost]]))
        assert read.output.type == "error"
        assert read.output.code == "guard_failed" and "timeout" in read.output.message


def test_moderations_hold_openais_categories_and_the_policys() -> None:
    """Those of one name are one."""
    hate = Decision("input", "block", True, "hate", 0.8, "judge@1")
    found = listed(result([hate, HIGH]))
    read = openai_moderation.Moderation.model_validate(found)
    assert read.flagged and read.categories.hate and read.category_scores.hate == 0.8
    assert not read.categories.violence and read.category_scores.violence == 0
    assert set(found["categories"]) == {*OPENAI_CATEGORIES, "fraud"}
    assert set(found["category_scores"]) == set(found["category_applied_input_types"])


def test_a_response_is_named_after_the_strongest_outcome() -> None:
    """A failure above a block, a block above everything that let something out."""
    redacted = Decision("output", "redact", True, "fraud", 0.9)
    assert strongest([CLEAR, HIGH, LOST]) == "error"
    assert strongest([CLEAR, redacted, HIGH]) == "block"
    assert strongest([OPEN, redacted]) == "modify"
    assert strongest([CLEAR, LOGGED, OPEN]) == "bypass"
    assert strongest([CLEAR, LOGGED]) == "log"
    assert strongest([]) == strongest([CLEAR]) == "allow"
    assert math.isnan(LOST.score)
