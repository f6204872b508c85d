"""Shows rows as the model will see them: trained tokens highlighted, masked ones dim.

Without colour the trained text stands between ⟦ and ⟧.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from safeft.data.formats import FORMATS, Example
from safeft.data.masks import Encoded, Tokenizer, encode, summary
from safeft.data.rows import Source

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Segment = tuple[str, bool]  # a piece of text, and whether it is trained
# Control characters in data must not reach the terminal; line breaks and tabs may.
_PICTURES = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    127: 0x2421,
    **dict.fromkeys(range(128, 160), 0xFFFD),  # these begin escape sequences too, and have none
}


def header(source: Source) -> str:
    """One line: the source, its format, its size, its fingerprint and its unused columns."""
    fields = ", ".join(FORMATS[source.format].required)
    rows = f"{len(source.rows):,} row{'s' * (len(source.rows) != 1)}"
    unused = f"; not used: {', '.join(source.unused)}" if source.unused else ""
    return (
        f"{source.label}: format {source.format} ({fields}), {rows}, "
        f"sha256 {source.fingerprint[:12]}{unused}"
    )


def show(
    source: Source,
    examples: Sequence[Example],
    console: Console,
    *,
    tokenizer: Tokenizer | None = None,
    rows: int = 3,
    max_length: int = 1024,
) -> None:
    """Print the header, the first `rows` rows, and with a tokenizer the counts over all rows.

    Without a tokenizer the turns are shown by role, and what will be trained is only the turns.
    """
    _line(console, header(source))
    encoded = [encode(item, tokenizer, max_length) for item in examples] if tokenizer else []
    for number, item in enumerate(examples[:rows]):
        seen = encoded[number] if encoded else None
        _line(console, f"\n── {item.place}{_note(seen)}")
        segments = token_segments(seen, tokenizer) if seen else turn_segments(item)
        console.print(rendered(segments, plain=_is_plain(console)), soft_wrap=True)
    closing = str(summary(encoded)) if encoded else "no model given: turns are shown, not tokens"
    _line(console, f"\n{closing}")


def token_segments(encoded: Encoded, tokenizer: Tokenizer) -> Iterator[Segment]:
    """Runs of tokens that are all trained or all masked, decoded with their special tokens."""
    pairs = zip(encoded.loss_mask, encoded.ids, strict=True)
    for trained, run in groupby(pairs, key=lambda pair: pair[0]):
        yield tokenizer.decode([token for _, token in run], skip_special_tokens=False), trained


def turn_segments(example: Example) -> Iterator[Segment]:
    """The turns of one example, each after the name of its role."""
    if example.text:
        yield example.text, True
    for number, turn in enumerate(example.messages):
        yield f"{chr(10) * (number > 0)}{turn.role}: ", False
        yield turn.content, turn.role == "assistant"


def rendered(segments: Iterator[Segment], plain: bool) -> Text:
    """The segments as rich text; when `plain`, with marks around what is trained."""
    from rich.text import Text

    text = Text()
    for piece, trained in segments:
        safe = piece.translate(_PICTURES)
        if plain:
            text.append(f"⟦{safe}⟧" if trained else safe)
        else:
            text.append(safe, "bold green" if trained else "dim")
    return text


def _note(encoded: Encoded | None) -> str:
    if encoded is None:
        return ""
    cut = ", truncated" * encoded.truncated
    bare = "" if any(encoded.loss_mask) else ", fully masked: it teaches nothing"
    return f": {len(encoded.ids)} tokens, {sum(encoded.loss_mask)} trained{cut}{bare}"


def _is_plain(console: Console) -> bool:
    return console.no_color or console.color_system is None


def _line(console: Console, text: str) -> None:
    console.print(text.translate(_PICTURES), markup=False, highlight=False, soft_wrap=True)
