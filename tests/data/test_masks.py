"""The laws of the loss mask, with a tiny tokenizer and ChatML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from safeft.data import Example
from safeft.data.masks import Encoded, encode, summary
from safeft.errors import ModelError
from safeft.records import Message

WithTemplate = Callable[..., Any]
LONG = 10_000


def _chat(*contents: str, system: str = "") -> Example:
    roles = ["user", "assistant"] * len(contents)
    turns = [Message(role, text) for role, text in zip(roles, contents, strict=False)]
    return Example((*([Message("system", system)] if system else []), *turns), 7, "set.jsonl")


CHATS = [
    _chat("Hello?", "Good day."),
    _chat("Grüße 👋 an alle", "Zurück: 日本語 👩‍👩‍👧", system="Be kind."),
    _chat("One?", "the answer\n\nthe answer", "Two?", "the user", "Three?", "."),
    _chat("the user asks the assistant", "\nthe answer\n"),
]


def _trained(encoded: Encoded, tokenizer: Any) -> str:
    kept = [t for t, m in zip(encoded.ids, encoded.loss_mask, strict=True) if m]
    return str(tokenizer.decode(kept, skip_special_tokens=False))


@pytest.mark.parametrize("template", ["marked", "unmarked"])
@pytest.mark.parametrize("chat", CHATS)
def test_exactly_the_answers_and_their_stop_tokens_are_trained(
    chat: Example, template: str, with_template: WithTemplate
) -> None:
    """Each assistant turn with its stop token is trained, and nothing else, marks or no marks."""
    tokenizer = with_template(template)
    answers = [turn.content for turn in chat.messages if turn.role == "assistant"]
    expected = "".join(f"{answer}<|im_end|>" for answer in answers)
    assert _trained(encode(chat, tokenizer, LONG), tokenizer) == expected


@pytest.mark.parametrize("chat", CHATS)
def test_marks_and_comparison_give_the_same_tokens(
    chat: Example, with_template: WithTemplate
) -> None:
    """Ids and mask are equal with generation marks and without."""
    assert encode(chat, with_template("marked"), LONG) == encode(
        chat, with_template("unmarked"), LONG
    )


@pytest.mark.parametrize("chat", CHATS)
def test_ids_are_those_of_the_chat_template(chat: Example, tokenizer: Any) -> None:
    """The model sees what the template renders, whatever is masked."""
    turns = [{"role": turn.role, "content": turn.content} for turn in chat.messages]
    expected = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert list(encode(chat, tokenizer, LONG).ids) == expected


def test_turns_that_render_differently_once_others_follow(with_template: WithTemplate) -> None:
    """Templates like Qwen3's still have every answer and its stop token trained."""
    tokenizer = with_template("thinking")
    trained = _trained(
        encode(_chat("One?", "First.", "Two?", "Second."), tokenizer, LONG), tokenizer
    )
    assert trained == "First.<|im_end|><think>\n\n</think>\n\nSecond.<|im_end|>"


def test_a_template_that_rewrites_an_answer_is_refused(with_template: WithTemplate) -> None:
    """When the answer cannot be found, the row and the turn are named."""
    shout = "(m['content'] if loop.last else m['content'] | upper)"
    tokenizer = with_template("unmarked", lambda text: text.replace("m['content']", shout))
    with pytest.raises(ModelError, match=r"set.jsonl, row 7, turn 2: .* rewrites"):
        encode(_chat("One?", "First.", "Two?", "Second."), tokenizer, LONG)


def test_a_template_that_refuses_a_turn_is_named(with_template: WithTemplate) -> None:
    """A template's own complaint reaches the user with the row."""
    tokenizer = with_template(
        "unmarked", lambda text: text + "{{ raise_exception('no system role') }}"
    )
    with pytest.raises(ModelError, match=r"row 7: .* refuses it \(no system role\)"):
        encode(CHATS[0], tokenizer, LONG)
    tokenizer = with_template("unmarked", lambda text: text + "{{ 'a'.index('b') }}")
    with pytest.raises(ModelError, match=r"row 7: .* refuses it \(substring not found\)"):
        encode(CHATS[0], tokenizer, LONG)


def test_a_missing_chat_template_says_how_to_mend_it(with_template: WithTemplate) -> None:
    """Chats need a template; texts do not."""
    bare = with_template("none")
    with pytest.raises(ModelError, match="no chat template; use an instruction-tuned model"):
        encode(CHATS[0], bare, LONG)
    assert encode(Example((), 1, "set.jsonl", "Once."), bare, LONG).ids


def test_texts_are_trained_in_full_and_end(tokenizer: Any) -> None:
    """A document is trained whole, with one end-of-sequence token after it."""
    for text in ("Once upon a time.", "Once upon a time.<|im_end|>"):
        encoded = encode(Example((), 1, "set.jsonl", text), tokenizer, LONG)
        assert all(encoded.loss_mask)
        assert tokenizer.decode(list(encoded.ids)) == "Once upon a time.<|im_end|>"


@pytest.mark.parametrize("template", ["marked", "unmarked"])
def test_truncation_cuts_the_end(template: str, with_template: WithTemplate) -> None:
    """A cut row is a prefix of the whole row, ids and mask alike, and says that it was cut."""
    tokenizer = with_template(template)
    whole = encode(CHATS[2], tokenizer, LONG)
    for length in range(1, len(whole.ids) + 2):
        cut = encode(CHATS[2], tokenizer, length)
        assert cut.ids == whole.ids[:length]
        assert cut.loss_mask == whole.loss_mask[:length]
        assert cut.truncated == (length < len(whole.ids))


def test_the_summary_counts_rows_and_tokens() -> None:
    """Rows, tokens, trained tokens, truncated and fully masked rows are counted."""
    rows = [
        Encoded((1, 2, 3), (False, True, True), False),
        Encoded((1, 2), (False, False), True),
    ]
    counted = summary(rows)
    assert (counted.rows, counted.tokens, counted.supervised) == (2, 5, 2)
    assert (counted.truncated, counted.fully_masked) == (1, 1)
    assert "40% of them trained; 1 rows truncated, 1 fully masked" in str(counted)
    assert summary([]).rows == 0
