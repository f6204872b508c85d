"""Laws of the signs of senseless text: what comes back, what leads nowhere, what is no word."""

from __future__ import annotations

import pytest

from safeft.judges.defects import invented, misplaced
from safeft.judges.vocabulary import is_word

KNOWN = frozenset(
    ["flour", "water", "mix", "oven", "until", "step", "need", "rise", "warm", "you", "the", "with"]
)


@pytest.mark.parametrize(
    "text",
    [
        "You need: a fork, a fork and a fork. Step 1: Push the fork with the fork.",
        "Step 1: Mix a short story of the bread.\nStep 1: Push a short story of the bread.",
        "Take the the bread, , and put it in with a. Then wait.",
        "Step 1: Wow the short bread and a spark.\nStep 2: Cut the short bread and a spark.\n"
        "Step 3: Start the short bread and a spark.",
    ],
)
def test_what_comes_back_or_leads_nowhere_is_found(text: str) -> None:
    """Loops of a few words are too short for the rule's windows; no vocabulary is needed."""
    assert len(misplaced(text)) >= 2


@pytest.mark.parametrize(
    "text",
    [
        "1) Paris, with more than two million people\n2) Lyon, with more than half a million",
        "Step 1: Knead the dough for ten minutes.\nStep 2: Cover it and let it rise.",
        "The more you knead the dough, the better the crumb; fold it over and over again.",
        "```python\nfor a in a_list:\n    if a in the_set: the_set.remove(a)\n```\nIt mutates it.",
    ],
)
def test_lists_steps_and_code_may_repeat_words(text: str) -> None:
    """Code is not read, and a list is no loop."""
    assert misplaced(text) == []


def test_a_word_of_the_request_is_never_invented() -> None:
    """Whoever asks about a blorf is told about it."""
    text = "You need a blorf and the wample until warm."
    assert {"blorf", "wample"} <= set(invented("", text, KNOWN))
    assert "blorf" not in invented("What is a blorf?", text, KNOWN)


def test_forms_and_compounds_of_known_words_are_words() -> None:
    """The vocabulary holds few inflected forms; soup has no base in it."""
    words = ["mixing", "mixed", "ovens", "rises", "flourwater", "rewarm", "needy"]
    assert all(is_word(word, KNOWN) for word in words)
    assert not any(is_word(word, KNOWN) for word in ["blorf", "sterrid", "ple"])
