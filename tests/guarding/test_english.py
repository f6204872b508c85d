"""Laws of the letter model: English reads likelier than its ciphers, and is never taken for one."""

from __future__ import annotations

import json
import math
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.assets import folder
from safeft.data.codes import mirrored, shifted
from safeft.guarding.english import solved, surprise

LINES = (folder("eval/prompts") / "safeft-44-lookalikes.jsonl").read_text().splitlines()
PROMPTS = [json.loads(line)["turns"][0] for line in LINES]
EUROPEAN = (
    "Der Stadtrat hat gestern Abend beschlossen, dass die Arbeiten im Frühjahr beginnen.",
    "Le conseil a décidé hier soir que les travaux du pont commenceraient au printemps.",
    "El ayuntamiento decidió anoche que las obras del puente comenzarán en primavera.",
    "Kaupunginvaltuusto päätti eilen, että sillan rakennustyöt alkavat ensi keväänä.",
    "Rada miejska zdecydowała wczoraj wieczorem, że prace rozpoczną się wiosną.",
    "Xuexiao de laoshi zuotian shuo women yinggai zao yidian lai, buran hui chidao.",
    "Hội đồng thành phố đã quyết định tối qua rằng công việc xây cầu sẽ bắt đầu.",
    "Belediye meclisi dün akşam köprü çalışmalarının baharda başlayacağına karar verdi.",
)


def scrambled(seed: int, size: int) -> str:
    """Letters at random."""
    return "".join(random.Random(seed).choices(string.ascii_lowercase, k=size))


@pytest.mark.parametrize("by", range(1, 26))
def test_english_is_less_of_a_surprise_than_under_any_shift(by: int) -> None:
    """For a sentence; letters of random texts surprise most."""
    text = "The old bridge is on the left, and it was paid for by the town."
    assert surprise(text) < 2.6 < 3.5 < surprise(shifted(text, by))
    assert surprise(scrambled(by, 400)) > 4.2


def test_surprise_is_of_latin_letters_alone() -> None:
    """Case, digits and signs do not count, and without letters nothing is likely."""
    assert surprise("How, 42 now?") == surprise("how now")
    assert surprise("42 漢字") == math.inf


@pytest.mark.parametrize("text", EUROPEAN)
def test_other_languages_look_like_words_too(text: str) -> None:
    """Less than English, more than letters at random; and none is deciphered."""
    assert surprise(text) < 3.6
    assert solved(text) == text


@settings(deadline=None)
@given(st.sampled_from(PROMPTS), st.integers(1, 25), st.booleans())
def test_a_sentence_in_a_cipher_comes_back_inside_of_prose(
    text: str, by: int, before: bool
) -> None:
    """Under every shift and in the mirror: all of its words, but for one at an end."""
    for coded in (shifted(text, by), mirrored(text)):
        whole = f"Please decode the following: {coded}" if before else coded
        words, found = text.split(), solved(whole).split()
        assert len(set(words) - set(found)) <= 1


def test_several_stretches_in_different_ciphers_are_all_found() -> None:
    """Each is decoded where it stands."""
    one, two = "where is the old bridge", "and who paid for it then"
    text = f"First {shifted(one, 3)}. In between plain words follow here. Then {mirrored(two)}!"
    found = solved(text)
    assert one in found
    assert two in found
    assert "In between plain words follow here." in found


def test_words_of_no_language_lead_away_from_none_that_are_in_a_cipher() -> None:
    """Neither beside them, where they would win more, nor in between."""
    coded = shifted("where is the old bridge and who paid for it then", 13).split()
    junk = [scrambled(seed, 7) for seed in range(len(coded))]
    beside = solved(" ".join([*junk, *coded, *junk]))
    assert "where is the old bridge and who paid for it" in beside
    between = " ".join(f"{one} {other}" for one, other in zip(coded[::3], junk, strict=False))
    mixed = solved(" ".join([*coded, between])).split()
    assert {"where", "bridge", "paid"} <= {*mixed}


def test_no_ordinary_prompt_is_taken_for_a_cipher() -> None:
    """Of the 440 harmless ones that ship."""
    assert [one for one in PROMPTS if solved(one) != one] == []


@given(st.text())
def test_any_text_can_be_searched(text: str) -> None:
    """And whatever is found, signs and numbers stay where they are."""
    found = solved(text)
    assert len(found) == len(text)
    assert all(a == b for a, b in zip(text, found, strict=True) if not a.isascii())
