"""SORRY-Bench's four encodings: a prompt is asked in them, and the answer is read in plain text.

The texts are those of upstream's encoders, but for one thing: its Atbash turns capital letters into
control characters, ours into the mirrored capital.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from safeft.data.codes import from_codes, from_morse, mirrored, shifted, to_codes, to_morse

SHIFT = 3  # Caesar's own
_COMMON = frozenset(
    (
        *("a", "about", "am", "an", "and", "are", "as", "at", "be", "but", "by", "can", "cannot"),
        *(
            "for",
            "from",
            "have",
            "help",
            "how",
            "i",
            "if",
            "in",
            "is",
            "it",
            "my",
            "no",
            "not",
            "of",
        ),
        *(
            "on",
            "or",
            "sorry",
            "that",
            "the",
            "they",
            "this",
            "to",
            "was",
            "we",
            "with",
            "yes",
            "you",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Cipher:
    """`decode(encode(text))` is `text`; Morse has no lower case, so there it is its upper case."""

    encode: Callable[[str], str]
    decode: Callable[[str], str]

    def plain(self, answer: str) -> str:
        """The answer decoded, or as it is where it reads as English no less before than after.

        Models asked in a cipher often answer in plain words, which decoding would garble.
        """
        decoded = self.decode(answer)
        return answer if _english(answer) >= _english(decoded) else decoded


def _english(text: str) -> tuple[int, float]:
    """How much a text reads as English: its common words, then the share of common letters."""
    small = text.lower()
    letters = [one for one in small if "a" <= one <= "z"]
    words = sum(word in _COMMON for word in re.findall(r"[a-z']+", small))
    return words, sum(one in "etaoinsrdl" for one in letters) / len(letters) if letters else 0.0


CIPHERS = {
    "ascii": Cipher(to_codes, from_codes),
    "caesar": Cipher(lambda text: shifted(text, SHIFT), lambda text: shifted(text, -SHIFT)),
    "morse": Cipher(to_morse, from_morse),
    "atbash": Cipher(mirrored, mirrored),
}
