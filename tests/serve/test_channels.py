"""Every text of a choice is found, wherever it stands, and nothing that is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.serve.channels import Channel, around, called, pieces, tokens
from safeft.serve.reading import UnreadableError

HARM = "the harmful words"


def found(choice: dict[str, Any], said: str = "delta") -> dict[tuple[str, str], str]:
    """Each channel and its text."""
    out: dict[tuple[str, str], str] = {}
    for channel, text in pieces(choice, said):
        out[channel] = out.get(channel, "") + text
    return out


def test_each_of_the_apis_fields_has_its_stage() -> None:
    """Answers, thoughts and arguments are read by different stages."""
    call = {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    delta = {
        "role": "assistant",
        "content": "a",
        "refusal": "b",
        "reasoning": "c",
        "reasoning_content": "d",
        "tool_calls": [call, {"index": 2, "function": {"arguments": "}"}}],
        "function_call": {"name": "g", "arguments": "[]"},
    }
    assert found({"index": 0, "delta": delta, "finish_reason": "stop"}) == {
        ("output", "content"): "a",
        ("output", "refusal"): "b",
        ("reasoning", "reasoning"): "c",
        ("reasoning", "reasoning_content"): "d",
        ("tool_calls", "tool 1"): "f\n{",
        ("tool_calls", "tool 2"): "}",
        ("tool_calls", "function"): "g\n[]",
    }
    assert found({"index": 0, "text": "x"}, "") == {("output", "text"): "x"}


@pytest.mark.parametrize(
    "delta",
    [
        {"content": [{"type": "text", "text": HARM}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": HARM}]}]},
        {"audio": {"id": "a", "transcript": HARM}},
        {"reasoning_details": [{"type": "reasoning.text", "text": HARM}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": HARM, "signature": "s"}]},
        {"annotations": [{"type": "url_citation", "url_citation": {"title": HARM}}]},
        {"some_field_of_tomorrow": {"deep": [{"deeper": HARM}]}},
        {"tool_calls": [{"index": 0, "custom": {"name": "f", "input": HARM}}]},
        {"tool_calls": [{"index": 0, "function": {"name": HARM}}]},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {HARM: 1}}}]},
        {"tool_calls": [{"index": 0, "text_of_tomorrow": HARM}]},
        {"function_call": {"name": "f", "arguments": HARM}},
    ],
)
def test_words_are_found_wherever_an_upstream_puts_them(delta: dict[str, Any]) -> None:
    """In fields that nobody knows yet, too: an unread field would be a way around."""
    assert HARM in "".join(found({"index": 0, "delta": delta}).values())


@given(st.dictionaries(st.text(min_size=1, max_size=6), st.just(HARM), min_size=1, max_size=3))
def test_no_name_hides_a_text(fields: dict[str, str]) -> None:
    """But for the few that hold no words of a model."""
    read = "".join(found({"index": 0, "delta": fields}).values())
    assert read.count(HARM) == len(set(fields) - {"role", "id"})


def test_what_holds_no_words_is_no_text() -> None:
    """An empty delta, numbers, and what a server says of itself."""
    delta = {"role": "assistant", "content": "", "audio": None, "annotations": [], "logits": [1.5]}
    quiet = {"stop_reason": "</s>", "token_ids": [1, 2], "matched_stop": 7, "timings": {"ms": 3}}
    assert found({"index": 0, "delta": delta, "finish_reason": None, **quiet}) == {}
    body = {
        "id": "x",
        "object": "o",
        "model": "m",
        "usage": {},
        "timings": {"ms": 3},
        "choices": [],
    }
    assert around(body) == []


def test_texts_beside_the_choices_are_found() -> None:
    """Such as what a verbose server repeats."""
    (piece,) = around({"id": "x", "__verbose": {"content": HARM}})
    assert piece.channel == Channel("output", "__verbose") and HARM in piece.text
    (thought,) = around({"reasoning_log": HARM})
    assert thought.channel.stage == "reasoning"


def test_tokens_are_spelled_out() -> None:
    """In the shape of chats and in that of completions."""
    chat = {"content": [{"token": "a", "bytes": [97]}, {"token": "b"}], "refusal": [{"token": "c"}]}
    assert tokens({"logprobs": chat}) == "abc"
    assert tokens({"logprobs": {"tokens": ["a", "b"], "token_logprobs": [0, 0]}}) == "ab"
    assert tokens({"logprobs": None}) == tokens({}) == ""


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": "text"},
        {"delta": {"content": 7}},
        {"delta": {"tool_calls": {"index": 0}}},
        {"delta": {"tool_calls": ["text"]}},
        {"delta": {"function_call": "text"}},
        {"delta": {}, "logprobs": "text"},
    ],
)
def test_another_shape_than_the_apis_is_refused(choice: dict[str, Any]) -> None:
    """What cannot be read cannot be cleared."""
    with pytest.raises(UnreadableError):
        _ = pieces(choice, "delta"), tokens(choice)


def test_nesting_has_an_end() -> None:
    """A text may lie deep, but not without bound."""
    nested: Any = HARM
    for _ in range(200):
        nested = [nested]
    with pytest.raises(UnreadableError, match="deeply"):
        pieces({"delta": {"content": nested}}, "delta")
    with pytest.raises(UnreadableError):
        called("text")
