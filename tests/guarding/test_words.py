"""Laws of what a guard model's words mean: each family's documented format, and all that is not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.families import GUARDS, GuardFamily, reasoned, written
from safeft.guarding.schema import Format, Kind
from safeft.guarding.words import Told, chance, spelled, told

EVERY = [(family, kind) for family in GUARDS.values() for kind in ("exchange", "request")]
each = pytest.mark.parametrize(
    ("family", "kind"), EVERY, ids=[f"{one.judge}-{kind}" for one, kind in EVERY]
)
FORMATS: dict[str, Format] = {
    f"{family.judge}-{kind}": written(family).ways()[kind][1] for family, kind in EVERY
}
NOTHING = (
    "",
    " \n",
    "safe travels",
    "Unsafe at any speed.",
    "The text is unsafe.",
    'It is not "unsafe".',
    "I can't help with that.",
    "I'm sorry, but I can't judge this content.",
    "safe\nunsafe",
    "unsafe\nsafe",
    "unsafe\nS1\nsafe",
    "unsafe S1",
    "unsafe\nS1, then it depends",
    "safe\nS1",
    "Safety: Safe\nSafety: Unsafe\nCategories: None",
    "Safety: Safe\nCategories: Violent\nRefusal: No",
    "Safety: Unsafe",
    "The label is\nSafety: Unsafe\nCategories: Violent",
    "Harmful request: yes",
    "Harmful response: no\nHarmful request: no\nResponse refusal: no",
    "Harmful request: yes\nResponse refusal: no\nHarmful response: perhaps",
    "<score> yes </score><score> no </score>",
    "<score> no </score>\nBut it could be yes.",
    "<think>It is not.</think> no",
    "<score> maybe </score>",
    "note",
    "yesterday",
    "1",
    '{"violation": 2, "policy_category": null}',
    '{"violation": 0, "policy_category": "weapons"}',
    '{"violation": 1}',
    'I return {"violation": 0, "policy_category": null}',
    '{"violation": 0, "policy_category": null} {"violation": 1, "policy_category": "hate"}',
    reasoned("no violation"),
    '<|channel|>analysis<|message|>{"violation": 0, "policy_category": null}',
)


def read(family: GuardFamily, kind: Kind) -> Format:
    """The format of the shipped YAML."""
    return FORMATS[f"{family.judge}-{kind}"]


@each
def test_the_documented_format_is_read(family: GuardFamily, kind: Kind) -> None:
    """Harm with its categories, the harmless without any; the odd answer says nothing."""
    harm, harmless, odd = (told(read(family, kind), said) for said in family.answers[kind])
    assert harm is not None and harm.unsafe
    named = () if "unsafe" in family.names or len(family.criteria) > 1 else family.names
    assert harm.categories == named
    assert harmless is not None and not harmless.unsafe and not harmless.categories
    assert odd is None


@each
@pytest.mark.parametrize("said", NOTHING)
def test_what_is_not_the_format_says_nothing(family: GuardFamily, kind: Kind, said: str) -> None:
    """Refusals, silence, prose, quoted words and contradictions: never safe, and never a guess."""
    assert told(read(family, kind), said) is None


@each
def test_a_cut_answer_says_nothing_unless_its_rest_is_an_explanation(
    family: GuardFamily, kind: Kind
) -> None:
    """`unsafe\\nS1` may have been on its way to S12."""
    found = [told(read(family, kind), said, whole=False) for said in family.answers[kind][:2]]
    explained = family.judge == "shieldgemma"
    assert [one is not None for one in found] == [explained, explained]


@each
@settings(deadline=None, max_examples=60)
@given(text=st.text() | st.text("safeun yoSC:1\n,<>{}"))
def test_whatever_is_said_a_verdict_comes_from_a_whole_match(
    family: GuardFamily, kind: Kind, text: str
) -> None:
    """No text raises; what is read is the format's own word, where `place` points."""
    given_format = read(family, kind)
    found = told(given_format, text)
    if found is not None:
        begun = text[found.place :].lower()
        word = next(
            one for one in sorted(given_format.words, key=len)[::-1] if begun.startswith(one)
        )
        assert (given_format.words[word] == "unsafe") is found.unsafe


@each
@settings(deadline=None, max_examples=30)
@given(more=st.text(st.characters(categories=["L"]), min_size=3))
def test_words_before_or_behind_the_format_unmake_it(
    family: GuardFamily, kind: Kind, more: str
) -> None:
    """A verdict inside prose is a quotation. Behind ShieldGemma's word an explanation may come, and
    behind Qwen3Guard's categories another, which makes nothing safe.
    """
    for said in family.answers[kind][:2]:
        assert told(read(family, kind), f"{more} {said}") is None
        behind = told(read(family, kind), f"{said} {more}")
        assert behind is None or behind.unsafe or family.judge == "shieldgemma"


def test_several_categories_are_several_and_an_unknown_one_is_unsafe_alone() -> None:
    """A hazard that a newer model names is no reason to let a text go, nor one we know of."""
    guard = FORMATS["llama-guard-3-exchange"]
    assert told(guard, "\n\nunsafe\nS1,S9 , S1") == Told(True, 2, ("violence", "weapons"))
    assert told(guard, "unsafe\nS10,S99") == Told(True, 0, ("hate", "unsafe"))
    assert told(guard, "UNSAFE\n") == Told(True, 0)


def test_the_loose_reading_of_controversial_is_a_key() -> None:
    """Its report measures both; which one a policy wants is the user's to say."""
    strict = FORMATS["qwen3guard-exchange"]
    said = "Safety: Controversial\nCategories: Politically Sensitive Topics\nRefusal: No"
    loose = strict.model_copy(update={"labels": {**strict.labels, "controversial": "safe"}})
    assert told(strict, said) == Told(True, 8, ("politics",))
    assert told(loose, said) == Told(False, 8, ("politics",))


def test_matches_must_agree() -> None:
    """A format of one's own that is not anchored finds every verdict in the text."""
    own = Format(pattern=r"(?i)\b(?P<verdict>ok|bad)\b", labels={"OK": "safe", "bad": "unsafe"})
    assert told(own, "bad, bad") == Told(True, 0)
    assert told(own, "Ok. And OK.") == Told(False, 0)
    assert told(own, "ok, or bad") is None


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("unsafe", "unsafe"),
        (" Un", "unsafe"),
        ("SAFE\n", "safe"),
        ("sa", "safe"),
        ("safety", None),
        ("u", "unsafe"),
        ("no", None),
        ("", None),
        ("\n\n", None),
        ("unsafe S1", None),
    ],
)
def test_a_token_counts_for_the_word_that_it_spells_or_begins(token: str, word: str | None) -> None:
    """In any case, with what is no letter around it; `safety` begins another word."""
    assert spelled(token, ["safe", "unsafe"]) == word


def test_a_beginning_that_two_words_share_counts_for_neither() -> None:
    """It would tip the scales by chance."""
    assert spelled("s", ["safe", "severe"]) is None
    assert spelled("se", ["safe", "severe"]) == "severe"


@given(
    st.dictionaries(st.sampled_from(["safe", "unsafe", "controversial"]), st.floats(0, 1)),
)
def test_the_chance_is_the_share_of_the_unsafe_words(masses: dict[str, float]) -> None:
    """P(unsafe) / (P(unsafe) + P(safe)); None when no label's word was among the tokens."""
    words = FORMATS["qwen3guard-exchange"].words
    unsafe = masses.get("unsafe", 0) + masses.get("controversial", 0)
    total = unsafe + masses.get("safe", 0)
    found = chance(masses, words)
    assert found is None if total == 0 else math.isclose(found or 0, unsafe / total, abs_tol=1e-12)
    assert chance({"safe": math.nan}, words) is None
