"""What was asked, as a judge reads it."""

from __future__ import annotations

from typing import Any

import pytest

from safeft.records import Message, Prompt
from safeft.serve.conversation import asked, chat_prompts, conversation, text_prompts
from safeft.serve.problems import Problem


def read(*turns: tuple[str, Any], last: int = 4) -> list[tuple[str, str]]:
    """The turns of a conversation, as pairs."""
    messages = [{"role": role, "content": content} for role, content in turns]
    return [(one.role, one.content) for one in conversation(messages, last, "0").messages]


def test_the_last_turns_are_read_and_every_system_turn() -> None:
    """Older ones are not: what they say was answered before."""
    long = [("user" if place % 2 == 0 else "assistant", str(place)) for place in range(9)]
    assert read(("system", "s"), *long, last=2) == [("system", "s"), *long[-2:]]
    assert read(("user", "a"), ("developer", "d"), last=1) == [("system", "d"), ("user", "a")]


def test_a_request_in_two_turns_is_one_request() -> None:
    """A judge that reads the last turn alone would else miss the first half."""
    assert read(("user", "How do I"), ("user", "do it?")) == [("user", "How do I\n\ndo it?")]


def test_what_a_tool_found_belongs_to_the_request() -> None:
    """The question stays in sight, and what the tool brought in is read with it."""
    turns = [("user", "What is it?"), ("assistant", None), ("tool", "It is this.")]
    assert read(*turns) == [("user", "What is it?\n\nIt is this.")]
    assert read(("someone", "x")) == [("user", "x")]


def test_parts_are_put_together() -> None:
    """What is no text is not read."""
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:…"}},
        "b",
        {"type": "refusal", "refusal": "c"},
    ]
    assert read(("user", parts)) == [("user", "a\nb\nc")]
    assert read(("user", None)) == [("user", "")]


def test_what_an_answer_is_made_to_begin_with_is_read_too() -> None:
    """As part of the request: else it would be the place to ask for anything."""
    messages = [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "Sure: "}]
    prompt = conversation(messages, 4, "0")
    assert (prompt.asked, prompt.begun) == ("Go on.", "Sure: ")
    assert [one.prompt.asked for one in asked([prompt])] == ["Go on.", "Go on.\nSure: "]
    alone = conversation(messages[1:], 4, "0")
    assert (alone.asked, alone.begun) == ("", "Sure: ")
    assert conversation([{"role": "system", "content": "s"}], 4, "0").messages == (
        Message("user", "s"),
    )


def test_each_choice_has_the_prompt_that_it_answers() -> None:
    """Of completions n choices belong to the first prompt, then n to the second."""
    body: dict[str, Any] = {"prompt": ["a", "b"], "n": 2}
    assert [one.asked for one in text_prompts(body, "0")] == ["a", "a", "b", "b"]
    assert [one.asked for one in text_prompts({"prompt": "a", "suffix": "z"}, "0")] == ["a\nz"]
    chats = chat_prompts({"messages": [{"role": "user", "content": "a"}], "n": 3}, 4, "0")
    assert chats == [Prompt.of("a")] * 3
    assert [one.prompt.asked for one in asked(text_prompts(body, "0"))] == ["a", "b"]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (None, "a list"),
        ([], "at least one"),
        ("text", "a list"),
        (["text"], "an object with a role"),
        ([{"content": "a"}], "an object with a role"),
        ([{"role": 7, "content": "a"}], "an object with a role"),
        ([{"role": "user", "content": {"text": "a"}}], "text or a list"),
        ([{"role": "user", "content": [7]}], "must be an object"),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}], "must be text"),
    ],
)
def test_what_cannot_be_read_is_not_passed_on(messages: object, problem: str) -> None:
    """An upstream may read it otherwise; the error says where."""
    with pytest.raises(Problem, match=problem) as raised:
        conversation(messages, 4, "0")
    assert raised.value.status == 400 and raised.value.error["param"] == "messages"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": []},
        {"prompt": [1, 2]},
        {"prompt": [[1, 2]]},
        {"prompt": ["a", 1]},
        {"prompt": "a", "prompt_embeds": "AAAA"},
        {"prompt": "a", "suffix": 7},
        {"prompt": "a", "n": 0},
        {"prompt": "a", "n": 129},
        {"prompt": "a", "n": True},
        {"prompt": "a", "n": "2"},
        {"prompt": ["a"] * 100, "n": 2},
    ],
)
def test_completions_are_read_as_text_or_not_at_all(body: dict[str, Any]) -> None:
    """Token ids and embeddings say nothing to a judge."""
    with pytest.raises(Problem) as raised:
        text_prompts(body, "0")
    assert raised.value.status == 400
