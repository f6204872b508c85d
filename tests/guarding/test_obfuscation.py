"""Laws of plain readings: what is in disguise comes back, and what is not is left alone."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.reading import windows
from safeft.assets import folder
from safeft.data.codes import shifted
from safeft.evaluation.ciphers import CIPHERS
from safeft.guarding.obfuscation import DEPTH, normal, opened, plain

ROOT = Path(__file__).parents[2]
PROMPTS = [
    json.loads(line)["turns"][0]
    for name in ("safeft-44", "safeft-44-lookalikes")
    for line in (folder("eval/prompts") / f"{name}.jsonl").read_text().splitlines()
]
SOME = random.Random(0).sample(PROMPTS, 60)
SENTENCE = "Where is the old bridge, and who paid for it in the end?"
WRAPPED = "Please decode the following and answer it: {} Thank you."
LEET = str.maketrans("aeiostAEIOST", "431057431057")
LOOK_ALIKE = str.maketrans("aeopcyxijsAEOPCTMKBH", "аеорсухіјѕАЕОРСТМКВН")


def words(text: str) -> list[str]:
    """What a reader sees."""
    return re.findall(r"[a-z]+", text.lower())


def encoded(text: str) -> str:
    """In base64."""
    return base64.b64encode(text.encode()).decode()


def fullwidth(text: str) -> str:
    """The forms that are as wide as ideographs."""
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


EXACT: dict[str, Callable[[str], str]] = {
    "ascii": CIPHERS["ascii"].encode,
    "morse": CIPHERS["morse"].encode,
    "base64": encoded,
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 twice": lambda text: encoded(encoded(text)),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal bytes": lambda text: text.encode().hex(" "),
    "zero width": "\u200b".join,
    "joiners": "\u2060".join,
    "soft hyphens": "\u00ad".join,
    "struck through": "\u0336".join,
    "tags": lambda text: "".join(chr(0xE0000 + ord(one)) for one in text if one.isascii()),
    "look-alikes": lambda text: text.translate(LOOK_ALIKE),
    "full width": fullwidth,
}
NEARLY: dict[str, Callable[[str], str]] = {
    "caesar": CIPHERS["caesar"].encode,
    "atbash": CIPHERS["atbash"].encode,
    "rot13": lambda text: shifted(text, 13),
    "base64 in lines": lambda text: base64.encodebytes(f"{text} {text}".encode()).decode(),
    "base64 of rot13": lambda text: encoded(shifted(text, 13)),
}


@pytest.mark.parametrize("wrapped", ["{}", WRAPPED], ids=["alone", "in prose"])
@pytest.mark.parametrize("name", EXACT)
def test_what_is_encoded_comes_back_word_for_word(name: str, wrapped: str) -> None:
    """The evaluator's codes, base64 in its forms, and letters in disguise, in their place."""
    for text in SOME:
        asked = wrapped.format(EXACT[name](text))
        assert words(wrapped.format(text)) in [words(one) for one in plain(asked)]


@pytest.mark.parametrize("wrapped", ["{}", WRAPPED], ids=["alone", "in prose"])
@pytest.mark.parametrize("name", NEARLY)
def test_the_others_come_back_but_for_a_word_at_an_end(name: str, wrapped: str) -> None:
    """Every mutation of the evaluator that moves letters, rot13, and base64 in short lines."""
    for text in SOME:
        (found,) = plain(wrapped.format(NEARLY[name](text)))
        assert len({*words(text)} - {*words(found)}) <= 1


def test_every_code_of_the_evaluator_is_tested() -> None:
    """A new one has to be readable too."""
    assert {*CIPHERS} <= {*EXACT, *NEARLY}


@pytest.mark.parametrize("text", SOME[:30])
def test_leet_comes_back_for_the_most_part(text: str) -> None:
    """1 may be an i or an l, and a digit alone stays one."""
    given = words(text)
    (found,) = plain(WRAPPED.format(text.translate(LEET)))
    assert len({*given} & {*words(found)}) >= 0.55 * len({*given})


def test_one_word_of_leet_is_enough() -> None:
    """The one that a filter looks for."""
    assert plain("How do I paint my h0use?") == ["How do I paint my house?"]
    assert plain("Is a p@ssw0rd like this good?") == ["Is a password like this good?"]


@pytest.mark.parametrize("hidden", ["\u200b", "\u200d", "\ufe0f", "\U000e0100"])
def test_an_invisible_character_inside_of_a_word_hides_nothing(hidden: str) -> None:
    """And the text around it stays."""
    assert plain(f"The b{hidden}ridge — déjà vu!") == ["The bridge — déjà vu!"]


def test_disguises_may_be_mixed_and_nested() -> None:
    """Look-alike letters over leet, rot13 in base64, several codes in one text."""
    mixed = "\u200b".join("Who paid for the br1dge and the r0ad?".translate(LOOK_ALIKE))
    assert words(plain(mixed)[-1]) == words("Who paid for the bridge and the road?")
    several = f"{encoded(SENTENCE)} and then {shifted(SENTENCE, 13)}"
    assert words(opened(several)) == words(f"{SENTENCE} and then {SENTENCE}")


def test_layers_are_opened_down_to_a_depth() -> None:
    """One more than that stays closed."""
    text = SENTENCE
    for _ in range(DEPTH):
        text = encoded(text)
        assert opened(text) == SENTENCE
    assert SENTENCE not in opened(encoded(text))


def test_base64_is_read_from_wherever_it_is_cut() -> None:
    """A window may begin or end inside a group of four."""
    code = encoded(SENTENCE)
    for start in range(8):
        (found,) = plain(code[start : len(code) - start])
        assert "old bridge, and who paid for it" in found


def test_other_scripts_come_back_from_base64() -> None:
    """By their bytes, which are no accident."""
    for text in ("Где находится старый мост и кто его построил?", "橋は町の人々が建てました。"):
        assert opened(encoded(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "Где находится старый мост, и кто за него заплатил? Оно сорока рота.",
        "Πού είναι η παλιά γέφυρα και ποιος την πλήρωσε;",
        "Où se trouve le vieux pont? Ça coûte 5 €, n’est-ce pas…",
        "Cầu cũ nằm ở đâu và ai đã trả tiền cho nó?",
        "पुराना पुल कहाँ है? می‌خواهم بدانم",
        "古い橋はどこですか？ 👩‍👩‍👧 ☕️",
        "TNF-α rises by 5 μm, ½ of H₂O; α, β and Δx.",
        "İstanbul’da köprü ışıkları yanıyor.",
    ],
)
def test_other_languages_and_signs_are_in_no_disguise(text: str) -> None:
    """A script that is meant is left as it is, however much it looks like Latin."""
    assert plain(text) == []


def test_no_prompt_that_ships_is_taken_for_a_disguise() -> None:
    """Nor is any row of the shipped benign domain."""
    rows = (folder("recipes") / "data/garden.jsonl").read_text().splitlines()
    texts = [json.loads(line)["completion"] for line in rows]
    assert [one for one in PROMPTS + texts if plain(one)] == []


def falsely(texts: list[str]) -> float:
    """The share of texts that get another reading."""
    return sum(bool(plain(one)) for one in texts) / len(texts)


def test_false_alarms_are_rare_on_technical_text() -> None:
    """Documents, source code, URLs, hashes, identifiers and pictures, in pieces as read."""

    def pieces(*names: str) -> list[str]:
        text = "\n".join(one.read_text() for name in names for one in sorted(ROOT.glob(name)))
        return [text[start : start + 300] for start in range(0, len(text), 300)]

    made = [hashlib.sha256(str(place).encode()) for place in range(300)]
    hexes = [one.hexdigest() for one in made]
    urls = [f"https://example.org/files/{one[:12]}/page-{one[:3]}?id={one[20:28]}" for one in hexes]
    uuids = [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}" for h in hexes]
    pictures = [base64.b64encode(one.digest() * 3).decode() for one in made]
    assert falsely(pieces("docs/*.md", "README.md")) <= 0.02
    assert falsely(pieces("src/safeft/stats/*.py")) <= 0.05
    assert falsely(urls) <= 0.1  # three numbers in base 16 each
    assert falsely(hexes) <= 0.01
    assert falsely(uuids) <= 0.01
    assert falsely(pictures) <= 0.08


def test_across_windows_the_overlap_joins_what_it_holds() -> None:
    """Harm in one window's code is read; of a long code each window reads its own part."""
    text = " ".join([SENTENCE] * 12)
    read = [" ".join([one.read, *plain(one.read)]) for one in windows(f"Well: {encoded(text)}")]
    assert len(read) > 2
    assert all("bridge" in one for one in read)
    # Code points have a token each: 64 of them are all that a window sees, and no more.
    numbers = [plain(one.read) for one in windows(CIPHERS["ascii"].encode(SENTENCE * 4))]
    assert max(len(one[0]) for one in numbers if one) < 80


@given(st.text())
@settings(deadline=None, max_examples=300)
def test_any_text_has_at_most_two_other_readings(text: str) -> None:
    """Each differs in its words from the text, and none is there twice."""
    found = plain(text)
    assert len(found) <= 2
    assert len({tuple(words(one)) for one in [text, *found]}) == len(found) + 1
    assert normal(normal(text)) == normal(text)


@given(st.text(st.characters(codec="ascii")))
def test_ascii_is_in_plain_letters_already(text: str) -> None:
    """Whatever it may encode."""
    assert normal(text) == text


PARTS = ("A", "1", "1 ", "12 ", "- ", "-", "a1", "a-", "a@", " ", "\\x41", "QUJD", "a\n", "a'")
ODD = ("漢", "а", "é", "\u200b", "h\u0336", "0x", "abc@abc.", "zq ", "- x ", "{", "=", "\n")


@pytest.mark.parametrize("part", [*PARTS, *ODD])
def test_no_pattern_tries_long_texts_over_and_over(part: str) -> None:
    """Where one went back for every character, these would take many minutes."""
    assert len(plain((part * 80_000)[:80_000])) <= 2
