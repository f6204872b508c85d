"""Which words are English: the whole words of MiniLM's vocabulary, their forms and compounds."""

from __future__ import annotations

from functools import cache

from safeft.models.encoder import encoder_folder

# A form is a word when its base is one: the 30,000 entries hold few inflected forms.
_SUFFIXES = (
    *("s", "es", "ed", "d", "ing", "ly", "r", "er", "ers", "est", "n", "en", "al", "able", "ible"),
    *("y", "ies", "ied", "ier", "ness", "ment", "ful", "less", "ion", "ions", "ity", "ism", "ist"),
    *("ish", "like", "ize", "ized", "ise", "ised", "ous", "ic", "ive", "age", "ance", "ation"),
)
_PREFIXES = (
    *("un", "re", "in", "non", "over", "pre", "out", "dis", "mis", "under", "anti", "co", "inter"),
    *("multi", "micro", "bio", "sub", "super", "semi", "self", "mid", "geo", "photo", "electro"),
)
_LEAST = 3  # letters in a base or in one half of a compound


@cache
def english() -> frozenset[str]:
    """The whole words of MiniLM's vocabulary. Raises ModelError without the encoder."""
    entries = (encoder_folder() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return frozenset(entry for entry in entries if entry.isascii() and entry.isalpha())


def is_word(word: str, known: frozenset[str]) -> bool:
    """Whether a lower-case word, its base under a suffix or prefix, or both halves are `known`."""
    if word in known or _has_base(word, known):
        return True
    for prefix in _PREFIXES:
        rest = word.removeprefix(prefix)
        if rest != word and len(rest) > _LEAST and (rest in known or _has_base(rest, known)):
            return True
    cuts = range(_LEAST, len(word) - _LEAST + 1)
    return any(word[:cut] in known and word[cut:] in known for cut in cuts)


def _has_base(word: str, known: frozenset[str]) -> bool:
    for suffix in _SUFFIXES:
        base = word.removesuffix(suffix)
        if base == word or len(base) < _LEAST:
            continue
        undoubled = base[:-1] if base[-1] == base[-2] else base
        if not known.isdisjoint((base, base + "e", base + "y", undoubled)):
            return True
    return False
