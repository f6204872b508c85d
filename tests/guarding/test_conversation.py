"""Laws of what a judge sees of a conversation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guarding.reading import Reading
from safeft.guarding.conversation import conversation
from safeft.records import Message, Prompt

ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES = st.lists(st.builds(Message, ROLES, st.text(max_size=3)), max_size=8)


@given(MESSAGES, st.integers(1, 10))
def test_the_last_turns_are_seen_and_the_systems(messages: list[Message], turns: int) -> None:
    """In order, with nothing in between left out, and all of a short conversation."""
    seen = conversation(messages, turns)
    others = [one for one in seen if one.role != "system"]
    spoken = [one for one in messages if one.role != "system"]
    assert others == spoken[-turns:]
    assert [one for one in seen if one.role == "system"] == [
        one for one in messages if one.role == "system"
    ]
    left = iter(messages)
    assert all(any(one == other for other in left) for one in seen)


@given(MESSAGES, st.integers(1, 10), st.integers(1, 10))
def test_seeing_fewer_turns_of_more_is_seeing_fewer(
    messages: list[Message], fewer: int, more: int
) -> None:
    """Whoever has cut a conversation already changes nothing."""
    fewer, more = sorted((fewer, more))
    assert conversation(conversation(messages, more), fewer) == conversation(messages, fewer)


def both(text: str) -> float:
    """Finds what is harmful in two halves alone."""
    return float("half one" in text and "half two" in text)


def test_harm_that_is_split_over_two_turns_is_seen_in_one_piece() -> None:
    """By a judge that reads the turns together; one turn alone shows nothing."""
    messages = (
        Message("system", "Be kind."),
        Message("user", "half one"),
        Message("assistant", "go on"),
        Message("user", "half two"),
    )
    scores = []
    for turns in (4, 1):
        seen = conversation(messages, turns)
        joined = Prompt.of(" ".join(one.content for one in seen))
        scores += [one.scores["unsafe"] for one in Reading(both).requests([joined])]
    assert scores == [1.0, 0.0]


def test_an_old_turn_moves_out_of_sight() -> None:
    """What was harmful then is not read for ever."""
    messages = [Message("user", "half one half two"), *[Message("user", "thanks")] * 4]
    assert all("half" not in one.content for one in conversation(messages, 4))
    assert conversation(messages, 5)[0].content == "half one half two"
