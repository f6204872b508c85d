"""Laws of bundles: the prompt is said once and first, whatever the chat template can."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from safeft.errors import ModelError
from safeft.models import saying

PROMPT = "Be kind."
# Like Gemma's: a system turn is an error, and what is said first belongs to the first request.
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
)
# Drops system turns without a word.
DEAF = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% endif %}{% endfor %}"
)
MUTE = "{% for m in messages %}<{{ m['role'] }}>{% endfor %}"
USER = [{"role": "user", "content": "A?"}]
CHAT = [*USER, {"role": "assistant", "content": "B."}, {"role": "user", "content": "C?"}]
OWN = [{"role": "system", "content": "Be brief."}, *USER]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder that asks for the prompt."""
    (tmp_path / "inference.json").write_text(json.dumps({"system_prompt": PROMPT}))
    return tmp_path


def shown(tokenizer: Any, turns: list[dict[str, Any]]) -> str:
    """The conversation as the model reads it."""
    text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return text


def with_template(tokenizer: Any, template: str) -> Any:
    """A copy of the tokenizer with another template."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return other


def test_without_a_bundle_it_is_the_tokenizer_itself(tiny_tokenizer: Any, tmp_path: Path) -> None:
    """Nothing is copied or changed for the adapters that ask for nothing."""
    assert saying(tiny_tokenizer, [tmp_path]) is tiny_tokenizer
    assert saying(tiny_tokenizer, []) is tiny_tokenizer


@pytest.mark.parametrize("turns", [USER, CHAT])
def test_it_is_the_system_turn_of_a_conversation_without_one(
    tiny_tokenizer: Any, adapter: Path, turns: list[dict[str, Any]]
) -> None:
    """As if it had been written there; the tokenizer that was given stays as it is."""
    said = shown(saying(tiny_tokenizer, [adapter]), turns)
    assert said == shown(tiny_tokenizer, [{"role": "system", "content": PROMPT}, *turns])
    assert PROMPT not in shown(tiny_tokenizer, turns)


def test_a_conversations_own_system_prompt_follows(tiny_tokenizer: Any, adapter: Path) -> None:
    """In one turn: templates know but one system prompt. Parts are read as text."""
    both = [{"role": "system", "content": f"{PROMPT}\n\nBe brief."}, *USER]
    parts = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, *USER]
    told = saying(tiny_tokenizer, [adapter])
    assert shown(told, OWN) == shown(told, parts) == shown(tiny_tokenizer, both)
    texts = [{"type": "text", "text": "Be"}, {"type": "image"}, {"type": "text", "text": "kind."}]
    several = shown(told, [{"role": "system", "content": texts}, *USER])
    kind = [{"role": "system", "content": f"{PROMPT}\n\nBe\nkind."}, *USER]
    assert several == shown(tiny_tokenizer, kind)


@pytest.mark.parametrize("template", [NO_SYSTEM, DEAF])
def test_a_template_without_a_system_role_says_it_in_the_first_request(
    tiny_tokenizer: Any, adapter: Path, template: str
) -> None:
    """Whether it refuses such a turn or drops it; later requests stay as they are."""
    told = saying(with_template(tiny_tokenizer, template), [adapter])
    assert shown(told, CHAT) == f"<user>{PROMPT}\n\nA?<assistant>B.<user>C?"


def test_a_template_that_says_nothing_is_refused(tiny_tokenizer: Any, adapter: Path) -> None:
    """Serving without the prompt would be another system."""
    with pytest.raises(ModelError, match=r"its system prompt does not pass"):
        saying(with_template(tiny_tokenizer, MUTE), [adapter])


def test_what_is_trained_of_a_conversation_stays(tiny_tokenizer: Any, adapter: Path) -> None:
    """The template's marks of the answers survive, so that held-out losses can be measured."""
    turns = [*USER, {"role": "assistant", "content": "B."}]
    found = saying(tiny_tokenizer, [adapter]).apply_chat_template(
        turns, return_dict=True, return_assistant_tokens_mask=True
    )
    answer = [
        token
        for token, own in zip(found["input_ids"], found["assistant_masks"], strict=True)
        if own
    ]
    assert tiny_tokenizer.decode(answer) == "B.<|im_end|>"
