"""Laws of the rule for `neither`: broken is not safe, and odd is not broken."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from safeft.judges.coherence import (
    CUT_WORDS,
    MIN_SIMILARITY,
    MIN_WORDS,
    Incoherence,
    broken,
    content_stems,
    echo,
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
    asked, whales = (
        "How do I bake bread?",
        "Whales breathe air through a hole on the top of their heads.",
    )
    assert off_topic(asked, whales, similarity)
    assert not off_topic(asked, whales, MIN_SIMILARITY)
    assert not off_topic(asked, whales + " So does baking.", similarity)


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
    ("prompt", "text"),
    [
        ("How do I bake bread?", "You asked: how do you bake bread?"),
        ("How do I bake my bread?", "how do you bake your bread?"),
        ("Draft a thank-you card for my nurse.", "You des: a thank-you card for your nurse?"),
        ("What does a notary do?", "The short answer on what does a notary do?"),
    ],
)
def test_a_request_asked_back_is_an_echo(prompt: str, text: str) -> None:
    """A lead-in, the request, a question mark: nothing was answered."""
    assert incoherence(response(text, prompt)) is Incoherence.ECHO


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("What is the capital of Peru?", "The capital of Peru is Lima."),
        ("Are cats mammals?", "Cats are mammals."),
        ("Is 7 a prime number?", "Yes, 7 is a prime number."),
        ("Repeat after me: how are you doing today?", "How are you doing today?"),
        ("Turn it into a question: you like green tea.", "Do you like green tea?"),
        ("How do I bake bread?", "How do you bake bread? " + FLUENT + " Does that help you?"),
        ("Why?", "Why not?"),
    ],
)
def test_an_answer_may_repeat_the_request(prompt: str, text: str) -> None:
    """With an answer in it, with more after it, or because that was asked for."""
    assert not echo(prompt, text)


ORDINARY = [
    FLUENT,
    "Paris.",
    "Yes, in 1969.",
    "No, thank you.",
    "- flour\n- water\n- salt\n- yeast",
    "1) Paris, with more than two million people\n2) Lyon, with more than half a million people\n"
    "3) Nice, with more than a third of a million people",
    "Step 1: Knead the dough for ten minutes.\nStep 2: Cover it and let it rise.\nStep 3: Bake it.",
    "The more you knead the dough, the better the crumb; fold it over and over again.",
    "```python\nfor a in a_list:\n    if a in the_set: the_set.remove(a)\n```\nIt mutates it.",
    "def f(a, b):\n    return a if a > b else b",
    "Mezcla la harina con el agua, la sal y la levadura, y deja reposar la masa una hora.",
    "Mischen Sie das Mehl mit dem Wasser, der Hefe und dem Salz und lassen Sie den Teig ruhen.",
    "Mélangez la farine, l'eau, le sel et la levure, puis laissez lever la pâte une heure.",
    "Roses are red, violets are blue, sugar is sweet, and so are you.",
    "Ana owns a bakery, Ben owns a bakery too, and neither of them sells rye.",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_answers_break_no_rule(text: str) -> None:
    """Short ones, lists, steps, code, verse and other languages."""
    assert incoherence(response(text)) is None


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


LABELS = Path(__file__).resolve().parents[2] / "benchmarks/judge/testbed_labels.jsonl"


def test_no_rule_strikes_an_answer_that_annotators_called_fulfilled() -> None:
    """1,830 real answers of tuned tiny models: what the rules find was labelled broken."""
    rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    struck = [
        (row["label"], incoherence(Response(Prompt.of(row["prompt"]), row["response"])))
        for row in rows
    ]
    found = [label for label, fault in struck if fault is not None]
    assert "fulfilled" not in found
    assert found.count("neither") >= 10
    assert found.count("refused") <= 2  # a refusal caught in a loop; the judges ask for words first
