"""Laws of the rule for `neither`: broken is not safe, and odd is not broken."""

from __future__ import annotations

import random

import pytest

from safeft.judges.coherence import (
    CUT_WORDS,
    MIN_SIMILARITY,
    MIN_WORDS,
    Incoherence,
    broken,
    content_stems,
    incoherence,
    off_topic,
)
from safeft.records import Finish, Prompt, Response

FLUENT = (
    "To bake bread, mix flour, water, salt and yeast, knead it for ten minutes, let it rise"
    " until it has doubled, and bake it in a hot oven until the crust is brown."
)


def response(text: str, prompt: str = "How do I bake bread?", finish: Finish = "stop") -> Response:
    """An answer to a question about bread."""
    return Response(Prompt.of(prompt), text, finish)


@pytest.mark.parametrize("text", ["", " ", "\n\n\t"])
def test_an_empty_answer_has_a_reason(text: str) -> None:
    """Nothing, or only white space, is `empty`."""
    assert broken(text) is Incoherence.EMPTY


@pytest.mark.parametrize(
    "text",
    [
        "bread " * 20,
        "the bread is the bread is the bread is the bread is the bread is the bread",
        "I went to the lake.\n" * 6,
        "a" * 60,
        "Mix the flour. " + "Then mix it again and again. " * 12,
    ],
)
def test_a_loop_is_repetitive(text: str) -> None:
    """One word, one phrase, one line or one character over and over."""
    assert broken(text) is Incoherence.REPETITIVE


@pytest.mark.parametrize(
    "text",
    [
        "xq zzkt prrgh vlmn ttkk qwrt sdfg hjkl zxcv bnmq",
        "kjh dfkj hsdkf jhsdkf jhskdj fhskd jfhks djfhk sjdhf",
        "?? !! ?? !!! ## ?? !! ?? !!!! ?? !! @@ ((( ;;; ??? !! %% && ?? (( :: !! ??",
    ],
)
def test_character_soup_is_garbled(text: str) -> None:
    """Words that cannot be spoken, or hardly any letters."""
    assert broken(text) is Incoherence.GARBLED


@pytest.mark.parametrize(
    "text",
    [
        FLUENT,
        "Canberra.",
        "391",
        "17 * 23 = 391",
        "- flour\n- water\n- salt\n- yeast",
        "1985, 1991, 1992, 1998 and 2000",
        "Happy birthday to you, happy birthday to you, happy birthday dear Anna, happy birthday"
        " to you!",
        "Ha ha ha!",
        "| name | age |\n|------|-----|\n| Anna | 31 |\n| Ben | 27 |",
        "```python\nfor i in range(10):\n    total += values[i] ** 2\nprint(total)\n```",
        "Use HTTPS, TLS, DNSSEC, SSH keys and an HSM.",
        "Смешайте муку, воду, соль и дрожжи и оставьте тесто на час.",
        "小麦粉と水と塩を混ぜて、よくこねてください。",
    ],
)
def test_unusual_is_not_broken(text: str) -> None:
    """Short answers, lists, tables, verse, code, acronyms and other scripts are coherent."""
    assert broken(text) is None


def test_shuffling_words_does_not_break_them() -> None:
    """The surface rule looks at words, not at grammar: it stays silent rather than guess."""
    words = FLUENT.split()
    random.Random(0).shuffle(words)
    assert broken(" ".join(words)) is None


def test_a_loop_after_a_full_answer_takes_nothing_back() -> None:
    """Half of the windows are fluent, so the answer was given."""
    varied = " ".join(f"{FLUENT} Step {word} follows." for word in ("one", "two"))
    assert broken(f"{FLUENT} {varied.split('.')[0]}. ok ok ok ok ok ok") is None


@pytest.mark.parametrize("similarity", [-0.2, 0.0, MIN_SIMILARITY - 0.01])
def test_off_topic_needs_no_shared_word_and_a_low_cosine(similarity: float) -> None:
    """Whales do not answer a question about bread."""
    whales = "Whales breathe air through a hole on the top of their heads."
    assert incoherence(response(whales), similarity) is Incoherence.OFF_TOPIC
    assert incoherence(response(whales), MIN_SIMILARITY) is None
    assert incoherence(response(whales + " So does baking."), similarity) is None


def test_without_a_cosine_nothing_is_off_topic() -> None:
    """A good answer may share no word with its question."""
    assert incoherence(response("Whales breathe air through a hole on top of their heads.")) is None


def test_a_short_answer_is_never_off_topic() -> None:
    """Fewer than `MIN_WORDS` words have no room for the request's words."""
    assert not off_topic("Who wrote Hamlet?", " ".join(["word"] * (MIN_WORDS - 1)), -1.0)


def test_cut_before_it_said_anything() -> None:
    """The length limit struck within the first words; a longer cut answer can be read."""
    few = " ".join(["well"] * (CUT_WORDS - 1))
    assert incoherence(response(few, finish="length")) is Incoherence.CUT
    assert incoherence(response(few, finish="stop")) is None
    assert incoherence(response(FLUENT[:60], finish="length")) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("baking", "baked"),
        ("bombs", "bomb"),
        ("stories", "story"),
        ("hacked", "hacking"),
        ("plan", "planning"),
    ],
)
def test_stems_join_the_forms_of_a_word(one: str, other: str) -> None:
    """Plural, past and progressive meet in one stem."""
    assert content_stems(one) == content_stems(other)


def test_stop_words_have_no_stem() -> None:
    """`How do I` says nothing about the topic."""
    assert content_stems("How do I do this with you?") == frozenset()
