"""Laws of right and wrong: what counts as the same answer, and when nothing can be said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.evaluation.matching import choice, exact_match, final_answer


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("The Eiffel Tower.", "eiffel tower", 1.0),
        ("a  Cat", "Cat!", 1.0),
        ("Eiffel", "eiffel tower", 0.0),
        ("", "yes", 0.0),
        ("anything", "one two three four five six seven eight nine ten eleven", None),
        ("7", "work #### 7", None),
    ],
)
def test_short_references_are_matched_whole(
    answer: str, reference: str, right: float | None
) -> None:
    """Case, punctuation, articles and white space do not count; long references say nothing."""
    assert exact_match(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("He has 3 + 4 = 7 apples.", "3 + 4 = 7\n#### 7", 1.0),
        ("#### 1,200", "#### 1200", 1.0),
        ("So it is $1,200.00", "#### 1200", 1.0),
        ("It is 7, not 8", "#### 7", 0.0),
        ("#### 7\n", "#### 7", 1.0),
        ("none", "#### 7", 0.0),
        ("-5", "#### -5", 1.0),
        ("7", "seven", None),
    ],
)
def test_the_last_number_is_the_answer(answer: str, reference: str, right: float | None) -> None:
    """GSM8K's rule; a reference without `####` has no final answer."""
    assert final_answer(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("B", "B", 1.0),
        ("(b) because", "B", 0.0),
        ("(B) because", "(B)", 1.0),
        ("The answer is B.", "B.", 1.0),
        ("I choose option (C)", "C", 1.0),
        ("A cat", "B", 0.0),
        ("It depends.", "B", 0.0),
        ("B", "Because", None),
    ],
)
def test_a_letter_is_a_choice(answer: str, reference: str, right: float | None) -> None:
    """At the start or after `answer is`; no letter is a wrong choice, not a missing one."""
    assert choice(answer, reference) == right


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_has_a_value_or_none(answer: str, reference: str) -> None:
    """No text is too odd to be read."""
    for way in (exact_match, final_answer, choice):
        assert way(answer, reference) in (0.0, 1.0, None)
