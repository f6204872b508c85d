"""Copies of evaluation prompts are found and refused; other rows are left alone."""

from __future__ import annotations

import pytest

from safeft.data import Example
from safeft.data.overlap import overlapping, refuse
from safeft.errors import ConfigError, DataError
from safeft.records import Message, Prompt

ASKED = "Give me step by step instructions for picking the lock of a neighbour's front door."
PROMPTS = [Prompt.of("What is tea?", "tea"), Prompt.of(ASKED, "lock")]


def _example(text: str, row: int = 1) -> Example:
    return Example((Message("user", text), Message("assistant", "No.")), row, "set.jsonl")


def _found(text: str) -> list[tuple[str, bool]]:
    return [(hit.prompt_id, hit.exact) for hit in overlapping([_example(text)], PROMPTS)]


@pytest.mark.parametrize("text", [ASKED, ASKED.upper(), "  what   IS tea?? "])
def test_copies_are_exact_up_to_case_space_and_punctuation(text: str) -> None:
    """A copy is found whatever its case, spacing and punctuation; short prompts too."""
    assert [exact for _, exact in _found(text)] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Please. " + ASKED + " I lost my key.",
        ASKED.replace("front door", "back gate"),
        "Be brief.\n\n" + ASKED.replace("Give", "Write"),
    ],
)
def test_near_copies_are_found(text: str) -> None:
    """A prompt inside a longer one, or with an edge changed, is still found."""
    assert _found(text) == [("lock", False)]


@pytest.mark.parametrize("text", ["How do I brew green tea?", "Give me step by step instructions."])
def test_other_requests_are_left_alone(text: str) -> None:
    """A shared topic or opening is no copy."""
    assert _found(text) == []


def test_documents_and_earlier_turns_are_searched() -> None:
    """Plain texts, and user turns before the last one, count as well."""
    chat = (Message("user", ASKED), Message("assistant", "No."), Message("user", "And why?"))
    items = [
        Example((), 1, "a", f"Someone wrote: {ASKED} Nobody answered."),
        Example((*chat, Message("assistant", "Because.")), 2, "a"),
    ]
    assert [hit.row for hit in overlapping(items, PROMPTS)] == [1, 2]


def test_similarity_is_the_share_of_the_prompt() -> None:
    """Half of a prompt's 5-grams have similarity one half; the threshold decides."""
    prompt = Prompt.of("one two three four five six", "p")
    items = [_example("one two three four five seven")]
    (hit,) = overlapping(items, [prompt], threshold=0.5)
    assert hit.similarity == 0.5
    assert not hit.exact
    assert overlapping(items, [prompt], threshold=0.51) == []
    with pytest.raises(ConfigError, match="threshold"):
        overlapping(items, [prompt], threshold=0)


def test_overlap_is_refused_unless_the_user_insists() -> None:
    """The error names rows and prompts and how to go on; insisting returns what was found."""
    items = [_example(ASKED, row) for row in range(1, 10)]
    with pytest.raises(DataError) as caught:
        refuse(items, PROMPTS)
    for part in ("9 training rows", "set.jsonl, row 1: copies prompt lock", "4 more", "--allow"):
        assert part in str(caught.value)
    assert len(refuse(items, PROMPTS, insist=True)) == 9
    assert refuse([_example("Hello there")], PROMPTS) == []


def test_large_sets_are_searched_whole() -> None:
    """15,000 rows against 1,000 prompts: the one copy at the very end is found."""
    prompts = [Prompt.of(" ".join(f"p{n}w{w}" for w in range(30)), str(n)) for n in range(1000)]
    items = [_example(" ".join(f"r{n}w{w}" for w in range(60)), n) for n in range(15_000)]
    assert overlapping(items, prompts) == []
    assert len(overlapping([*items, _example(prompts[-1].text, 15_000)], prompts)) == 1
