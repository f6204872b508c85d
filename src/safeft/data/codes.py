"""Codes that a text can be written in, and read back from: letters, numbers, Morse. Pure text."""

from __future__ import annotations

import re
from collections.abc import Callable

_MORSE = {
    "A": ".-", "B": "-...", "C": "-.-.", "D": "-..", "E": ".", "F": "..-.", "G": "--.",
    "H": "....", "I": "..", "J": ".---", "K": "-.-", "L": ".-..", "M": "--", "N": "-.",
    "O": "---", "P": ".--.", "Q": "--.-", "R": ".-.", "S": "...", "T": "-", "U": "..-",
    "V": "...-", "W": ".--", "X": "-..-", "Y": "-.--", "Z": "--..", "1": ".----", "2": "..---",
    "3": "...--", "4": "....-", "5": ".....", "6": "-....", "7": "--...", "8": "---..",
    "9": "----.", "0": "-----", ",": "--..--", ".": ".-.-.-", "?": "..--..", "/": "-..-.",
    "-": "-....-", "(": "-.--.", ")": "-.--.-",
}  # fmt: skip
_PLAIN = {code: character for character, code in _MORSE.items()} | {"/": " "}


def shifted(text: str, by: int) -> str:
    """Each Latin letter moved by so many places (Caesar: 3; rot13: 13); anything else as it is."""
    return "".join(_turned(character, lambda place: (place + by) % 26) for character in text)


def _turned(character: str, turn: Callable[[int], int]) -> str:
    """A Latin letter moved inside its alphabet; anything else as it is."""
    for first in "aA":
        place = ord(character) - ord(first)
        if 0 <= place < 26:
            return chr(ord(first) + turn(place))
    return character


def mirrored(text: str) -> str:
    """Atbash: the first Latin letter is the last, and back again; anything else as it is."""
    return "".join(_turned(character, lambda place: 25 - place) for character in text)


def to_codes(text: str) -> str:
    """The code point of each character, in decimal."""
    return " ".join(str(ord(character)) for character in text)


def from_codes(text: str) -> str:
    """Every run of numbers that are characters, decoded; what stands between them stays."""
    return re.sub(r"\b\d{1,7}(?: \d{1,7})*\b", lambda run: _characters(run.group()), text)


def _characters(run: str) -> str:
    numbers = [int(number) for number in run.split(" ")]
    return "".join(map(chr, numbers)) if all(map(_readable, numbers)) else run


def _readable(number: int) -> bool:
    return number in (9, 10, 13) or 32 <= number < 0xD800 or 0xE000 <= number <= 0x10FFFF


def to_morse(text: str) -> str:
    """International Morse in capitals; what it has no code for is sent as it is."""
    return "\n".join("".join(map(_signal, line)) for line in text.upper().split("\n"))


def _signal(character: str) -> str:
    return " " if character == " " else _MORSE.get(character, character) + " "


def from_morse(text: str) -> str:
    """Signals read as capitals; ` / ` and two spaces divide words, and what is no signal stays."""
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    # Each character ends with a space, and a space is nothing but one: two in a row end a word.
    signals = line.removesuffix(" ").split(" ") if line else []
    return "".join(_PLAIN.get(signal, signal) if signal else " " for signal in signals)
