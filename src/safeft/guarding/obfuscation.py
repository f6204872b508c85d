"""Texts in disguise, read plainly: look-alike letters, invisible ones, encodings, ciphers, leet.

`plain` gives at most two readings, and none of a text that hides nothing. What is decoded stands in
the code's place, so that a judge reads it in its sentence. It is kept only where it reads like
words: a false alarm costs one more reading and takes none away.

Not found: letter ciphers and leet of other languages than English, letters that are reversed or
spaced out, more than `DEPTH` layers, and a code of which a window holds too little: windows are
read with the 32 tokens before them, and that is all that joins them. Base64 is read from wherever
it is cut.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable, Iterator

from safeft.data.codes import from_codes, from_morse
from safeft.guarding.english import solved, surprise

DEPTH = 3
"""Layers of encoding that are opened: base64 in base64 is two."""

WORDS = 3.6
"""Nats a pair of letters, at most, in a decoded text (`english.surprise`).

European languages in Latin letters have 2.3 to 3.3, letters at random 4.8.
"""

LEET = 3.2
"""The same for one word: `bomb` has 3.1, `logaj` (log4j) 3.8."""

_LOOK_ALIKES = str.maketrans(
    "авеһіјкӏмнорԛѕтуԝхсԁгпьѵАВЕНІЈКМОРԚЅТУԜХС"
    "αγεηικνορτυχωςσΑΒΕΖΗΙΚΜΝΟΡΤΥΧɑɡ"
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
    "abehijklmhopqstywxcdrnbvABEHIJKMOPQSTYWXC"
    "ayenikvoptuxwcoABEZHIKMNOPTYXag"
    "abcdefghijklmnoprstuvwyz",
)
_OTHER_SCRIPT = re.compile("[\u0370-\u03ff\u0400-\u052f]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0001\U000e0100-\U000e01ef]"
)
_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}  # Unicode's invisible ASCII
_STROKES = re.compile("(?<=[A-Za-z])[\u0300-\u036f\u0489\u20d0-\u20ff]+")

_DIGIT = r"[A-Za-z0-9+/_-]"
_LINE = r"[ \t]*\r?\n[ \t]*"
_BASE64 = re.compile(
    rf"{_DIGIT}{{8,}}(?:{_LINE}{_DIGIT}{{8,}})*(?:{_LINE}{_DIGIT}{{1,7}}(?==))?={{0,2}}"
    rf"|{_DIGIT}{{6,7}}={{1,2}}"
)
_BYTE = "[0-9a-fA-F]{2}"
_HEX = re.compile(
    rf"(?:(?:\\x|%|0x){_BYTE}[ ,]?){{4,}}|{_BYTE}(?:[ :]{_BYTE}){{4,}}|(?:{_BYTE}){{6,}}"
)
_NUMBERS = re.compile(r"\b\d{2,5}(?:,?\s+\d{2,5}){4,}\b")
_SIGNAL = r"[-.−–—·•]{1,6}"
_MORSE = re.compile(rf"(?<!\S)(?:{_SIGNAL}|\S)(?: {{1,3}}(?:{_SIGNAL}|\S)){{3,}}(?!\S)")
_SAME_SIGNALS = str.maketrans("−–—·•", "---..")
_READABLE = re.compile(rb"(?:[\t\n\r\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]{1,3}){4,}")

_LETTERS = str.maketrans("03456789@$!", "oeasgtbgasi")
# A UUID and an address are one word each: neither is leet.
_LEET_WORD = re.compile(
    r"(?:[0-9a-f]+-){3,}[0-9a-f]+|\w{3,}@\w{3}[\w.-]*|[\w@$!]*[\w@$](?:\.[A-Za-z][\w.]*)?"
)
_LEET_SIGN = re.compile(r"[A-Za-z][0-9@$!]+[A-Za-z]|(?<![\w@$!])[0-9][A-Za-z]{4}")


def plain(text: str) -> list[str]:
    """The readings of a text besides itself: in plain letters, then with what it encodes decoded.

    None that has the same Latin words as the text.
    """
    letters = normal(text)
    readings = dict.fromkeys((letters, opened(letters)))
    return [one for one in readings if _words(one) != _words(text)]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def normal(text: str) -> str:
    """The text without invisible characters and strokes through letters, in the usual letters.

    Compatibility forms (NFKC) become plain ones. A look-alike becomes Latin in a word that has
    Latin letters, and in any other where the text has no word that must be of the other script.
    """
    if text.isascii():
        return text
    seen = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text.translate(_TAGS)))
    seen = _STROKES.sub("", seen)
    words = " ".join(re.findall(r"\w\w+", seen))
    turned = words.translate(_LOOK_ALIKES)
    if turned != words and not _OTHER_SCRIPT.search(turned):
        return seen.translate(_LOOK_ALIKES)
    return re.sub(r"\w+", lambda word: _unmixed(word.group()), seen)


def _unmixed(word: str) -> str:
    """A word that mixes Latin letters and look-alikes in Latin ones; any other as it is."""
    return word.translate(_LOOK_ALIKES) if re.search("[A-Za-z]", word) else word


def opened(text: str, depth: int = DEPTH) -> str:
    """The text with what it encodes in the code's place, and what that encodes, `depth` deep."""
    for pattern, decode in _CODES:
        text = pattern.sub(lambda run: _decoded(run.group(), decode, depth), text)  # noqa: B023
    return solved(_unleet(text))


def _decoded(run: str, decode: Callable[[str], Iterator[str]], depth: int) -> str:
    """What a run of code says, if it says something; else the run."""
    for found in decode(run):
        if depth > 1 and (deeper := opened(found, depth - 1)) != found:
            return deeper
        if _wordlike(found):
            return found
    return run


def _wordlike(text: str) -> bool:
    """Whether most of a text is letters, and these are of words or of another alphabet."""
    letters = [one for one in text if one.isalpha()]
    if len(letters) < 4 or len(letters) + text.count(" ") < 0.7 * len(text):
        return False
    if not text.isascii() and len(letters) < 8:  # a few bytes of anything are letters somewhere
        return False
    latin = sum(map(str.isascii, letters)) / len(letters)
    return surprise(text) <= WORDS if latin > 0.5 else latin < 0.2


def _from_base64(run: str) -> Iterator[str]:
    """Read from each of the four places at which a group may begin: long runs may be cut."""
    code = re.sub(r"[\s=]", "", run).translate(str.maketrans("-_", "+/"))
    for start in range(4 if len(code) >= 16 else 1):
        part = code[start:]
        part = part[:-1] if len(part) % 4 == 1 else part
        yield from _readable(base64.b64decode(part + "=" * (-len(part) % 4)))


def _from_hex(run: str) -> Iterator[str]:
    digits = re.sub(r"0x|[^0-9a-fA-F]", "", run)
    if not digits.isdecimal():  # English has an `e`, 65, and an `n`, 6e
        yield from _readable(bytes.fromhex(digits))


def _readable(data: bytes) -> Iterator[str]:
    """The text that bytes are; of a cut one its longest stretch, if that is half of it."""
    found = max(_READABLE.findall(data), key=len, default=b"")
    if found and (found == data or len(found) >= max(10, len(data) / 2)):
        yield found.decode("utf-8", "replace")


def _from_numbers(run: str) -> Iterator[str]:
    """Code points, most of them ASCII: five numbers beyond that are a row of a table."""
    found = from_codes(" ".join(re.findall(r"\d+", run)))
    if 2 * sum(map(str.isascii, found)) > len(found):
        yield found


def _from_signals(run: str) -> Iterator[str]:
    parts = run.translate(_SAME_SIGNALS)
    signals = sum(not one.strip("-.") for one in parts.split())
    if signals >= max(4, 0.6 * len(parts.split())):
        yield from_morse(parts)


_CODES: tuple[tuple[re.Pattern[str], Callable[[str], Iterator[str]]], ...] = (
    (_MORSE, _from_signals),
    (_HEX, _from_hex),
    (_NUMBERS, _from_numbers),
    (_BASE64, _from_base64),
)


def _unleet(text: str) -> str:
    """The text with the digits and signs inside of words as the letters that they stand for.

    One word that has them between letters must become a likely word; then the others may follow.
    """
    words = _LEET_WORD.findall(text) if _LEET_SIGN.search(text) else []
    if not any(_LEET_SIGN.search(one) and _spelled(one) for one in words):
        return text
    return _LEET_WORD.sub(lambda one: _spelled(one.group()) or one.group(), text)


def _spelled(word: str) -> str | None:
    """A word of leet in letters, if that makes a likely word; 1 is an i or an l."""
    if word.isalpha() or not re.search("[A-Za-z]", word) or re.search(r"\w{3}@\w{3}|[-.]", word):
        return None
    found = [word.lower().replace("1", one).translate(_LETTERS) for one in "il"]
    likely = [one for one in found if one.isascii() and one.isalpha() and surprise(one) <= LEET]
    return min(likely, key=surprise, default=None)
