"""Laws of held tokens: in any text, a token leaves when its characters are cleared, and whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guarding.reading import Reading, checking, having, prompts, raising, windows
from guarding.streamers import Kept
from safeft.guarding.checker import Checker
from safeft.guarding.detokenizing import Held, Text

EVERY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = {"window": 4, "first_window": 4, "overlap": 0}
(PROMPT,) = prompts("a")
WORDS = st.lists(st.sampled_from(["water", "bad", "a", "Yes.", "\n", "中文", "é", "👍"])).map(
    " ".join
)
TEXTS = st.one_of(WORDS, st.text(max_size=60))
ASKED, SAID_INSTEAD = [7, 8], [9]


def through(checker: Checker, tokenizer: Any, ids: list[int], **options: Any) -> tuple[Held, Kept]:
    """Tokens that were put one by one, behind a prompt, and have ended."""
    kept = Kept()
    held = Held(checker, PROMPT, tokenizer, kept, SAID_INSTEAD, **options)
    held.put(torch.tensor([ASKED]))
    for token in ids:
        held.put(torch.tensor([token]))
    held.end()
    held.close()
    assert kept.given[0] == ASKED
    assert kept.ended == 1
    assert kept.tokens == held.sent
    return held, kept


def encoded(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@EVERY
@given(TEXTS)
def test_tokens_one_by_one_are_the_text(tiny_tokenizer: Any, text: str) -> None:
    """Characters of several tokens come once they are whole."""
    made, pieces = Text(tiny_tokenizer), []
    for token in encoded(tiny_tokenizer, text):
        pieces.append(made.add(token))
        assert "\ufffd" not in pieces[-1] or "\ufffd" in text
    pieces.append(made.rest())
    assert "".join(pieces) == text


@EVERY
@given(TEXTS)
def test_what_is_cleared_leaves_token_by_token(tiny_tokenizer: Any, text: str) -> None:
    """The very tokens, special ones among them, and all of them."""
    ids = [*encoded(tiny_tokenizer, text), tiny_tokenizer.eos_token_id]
    held, kept = through(checking(Reading(lambda said: 0.0)), tiny_tokenizer, ids)
    assert kept.tokens == ids
    assert not held.stopped


@EVERY
@given(WORDS)
def test_no_token_of_a_blocked_window_leaves(tiny_tokenizer: Any, text: str) -> None:
    """Nor of anything behind it; the refusal is said where nothing had left."""
    ids = [*encoded(tiny_tokenizer, text), tiny_tokenizer.eos_token_id]
    held, kept = through(checking(having("bad"), output=KEYS), tiny_tokenizer, ids)
    cleared = ""
    for one in windows(text, 4, 4, 0):
        if "bad" in one.text:
            break
        cleared += one.text
    assert held.stopped is ("bad" in text)
    if not held.stopped:
        assert kept.tokens == ids
    elif kept.tokens != SAID_INSTEAD:
        # A token that reaches into the blocked window is held with it.
        assert kept.tokens == ids[: len(kept.tokens)]
        left = tiny_tokenizer.decode(kept.tokens)
        assert cleared.startswith(left) and len(cleared) - len(left) < 8


@EVERY
@given(WORDS)
def test_redacted_windows_leave_as_their_redaction(tiny_tokenizer: Any, text: str) -> None:
    """The text that leaves is that of a whole answer that is redacted."""
    made = checking(having("bad"), output=KEYS | {"action": "redact"}, redaction="<cut>")
    held, kept = through(made, tiny_tokenizer, encoded(tiny_tokenizer, text))
    expected = "".join("<cut>" if "bad" in one.text else one.text for one in windows(text, 4, 4, 0))
    assert tiny_tokenizer.decode(kept.tokens) == expected
    assert not held.stopped


def test_an_answer_to_a_blocked_request_never_leaves(tiny_tokenizer: Any) -> None:
    """It need not be read, or written to its end."""
    judge = Reading(raising)
    held, kept = through(
        checking(judge), tiny_tokenizer, encoded(tiny_tokenizer, "water"), blocked=True
    )
    assert kept.tokens == SAID_INSTEAD
    assert held.stops(torch.tensor([[1]]), None).tolist() == [True]


def test_optimistic_tokens_leave_as_they_come(tiny_tokenizer: Any) -> None:
    """And nothing more once the judge has said no; no refusal follows what has left."""
    ids = encoded(tiny_tokenizer, "bad water in the garden")
    made = checking(having("bad"), output=KEYS, streaming="optimistic")
    held, kept = through(made, tiny_tokenizer, ids)
    assert held.stopped
    assert kept.tokens == ids[: len(kept.tokens)] != []


@pytest.mark.parametrize("broken", [[0xF0], [0xE4, 0xB8]])
def test_half_a_character_waits_for_the_other_half(tiny_tokenizer: Any, broken: list[int]) -> None:
    """Its bytes leave with what completes it, or at the end as they are."""
    letters = [tiny_tokenizer.convert_tokens_to_ids(one) for one in map(byte, broken)]
    made = Text(tiny_tokenizer)
    assert [made.add(one) for one in letters] == [""] * len(letters)
    assert set(made.rest()) == {"\ufffd"}
    _, kept = through(checking(having("bad")), tiny_tokenizer, letters)
    assert kept.tokens == letters


def byte(value: int) -> str:
    """How byte-level tokenizers write a byte above 0xAC."""
    return chr(value)
