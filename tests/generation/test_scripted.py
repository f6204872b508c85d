"""The scripted generator: a fake that obeys the protocol to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.generation import Generator, Scripted
from safeft.records import Decoding, Prompt


@given(st.lists(st.text()), st.integers(0, 9))
def test_the_same_call_gives_the_same_answers_in_order(texts: list[str], seed: int) -> None:
    """One response per prompt, each made of its own prompt and the decoding alone."""
    scripted: Generator = Scripted(lambda prompt, decoding: f"{decoding.seed}: {prompt.text}")
    prompts = [Prompt.of(text, str(number)) for number, text in enumerate(texts)]
    first, again = (scripted(prompts, Decoding(0.7, seed)) for _ in range(2))
    assert first == again
    assert [one.prompt for one in first] == prompts
    assert [one.text for one in first] == [f"{seed}: {text}" for text in texts]


def test_it_counts_words_and_names_itself() -> None:
    """Tokens are words; the name is the caller's, the engine says that no model ran."""
    scripted = Scripted(lambda prompt, decoding: "three short words", name="parrot")
    assert (scripted.name, scripted.engine) == ("parrot", "scripted")
    [answer] = scripted([Prompt.of("?")], Decoding())
    assert (answer.tokens, answer.finish) == (3, "stop")


def test_a_script_that_raises_is_not_hushed_up() -> None:
    """Whatever the script raises reaches the caller."""

    def broken(prompt: Prompt, decoding: Decoding) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Scripted(broken)([Prompt.of("?")], Decoding())
