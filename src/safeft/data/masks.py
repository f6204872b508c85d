"""Examples → token ids and the loss mask: which tokens the model is trained to write.

Every assistant turn is trained, with the stop token that ends it. Templates with `{% generation %}`
say themselves which characters those are; for the others they are found by comparing the rendered
conversation with the conversation cut off before and after each turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from safeft.data.formats import Example
from safeft.errors import ModelError
from safeft.records import Message

Tokenizer = Any  # transformers' PreTrainedTokenizerBase, which is not typed
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and for each of them whether it counts in the loss; cut at the end when long."""

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class MaskSummary:
    """Counts over rows and tokens; a fully masked row teaches nothing."""

    rows: int
    tokens: int
    supervised: int
    truncated: int
    fully_masked: int

    def __str__(self) -> str:
        share = self.supervised / max(self.tokens, 1)
        return (
            f"{self.rows:,} rows, {self.tokens:,} tokens, {share:.0%} of them trained; "
            f"{self.truncated:,} rows truncated, {self.fully_masked:,} fully masked"
        )


def encode(example: Example, tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Ids and loss mask of one example, the first `max_length` tokens of each.

    A `text` example is trained in full and ends with the end-of-sequence token. Raises ModelError
    when the tokenizer has no chat template, or one that refuses or rewrites the turns.
    """
    ids, mask = _text(example, tokenizer) if example.text else _chat(example, tokenizer)
    kept = slice(0, max_length)
    return Encoded(tuple(ids[kept]), tuple(mask[kept]), len(ids) > max_length)


def summary(encoded: Iterable[Encoded]) -> MaskSummary:
    """Counts of rows, tokens, trained tokens, truncated rows and fully masked rows."""
    rows = tokens = supervised = truncated = fully_masked = 0
    for item in encoded:
        trained = sum(item.loss_mask)
        rows += 1
        tokens += len(item.ids)
        supervised += trained
        truncated += item.truncated
        fully_masked += not trained
    return MaskSummary(rows, tokens, supervised, truncated, fully_masked)


def _text(example: Example, tokenizer: Tokenizer) -> tuple[Sequence[int], Sequence[bool]]:
    end = tokenizer.eos_token or ""
    text = example.text if end and example.text.endswith(end) else example.text + end
    ids = tokenizer(text)["input_ids"]
    return ids, [True] * len(ids)


def _chat(example: Example, tokenizer: Tokenizer) -> tuple[Sequence[int], Sequence[bool]]:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ModelError(
            f"{_name(tokenizer)}: has no chat template; use an instruction-tuned model, or put a "
            "chat_template.jinja beside its tokenizer"
        )
    if not tokenizer.is_fast:
        raise ModelError(
            f"{_name(tokenizer)}: cannot say which characters a token covers; "
            "use a model with a tokenizer.json"
        )
    try:
        marked = _MARKS.search(tokenizer.get_chat_template())
        return (_marked if marked else _compared)(example, tokenizer)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{example.place}: the chat template of {_name(tokenizer)} refuses it ({error})"
        ) from None


def _name(tokenizer: Tokenizer) -> str:
    return getattr(tokenizer, "name_or_path", "") or "the tokenizer"


def _marked(example: Example, tokenizer: Tokenizer) -> tuple[Sequence[int], Sequence[bool]]:
    """The template's own marks decide."""
    encoded = tokenizer.apply_chat_template(
        [asdict(turn) for turn in example.messages],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return encoded["input_ids"], [bool(bit) for bit in encoded["assistant_masks"]]


def _compared(example: Example, tokenizer: Tokenizer) -> tuple[Sequence[int], Sequence[bool]]:
    """The rendered turns decide: from where the answer is prompted to the end of its turn."""
    full = _render(tokenizer, example.messages)
    spans = _spans(example, tokenizer, full)
    encoded = tokenizer(full, add_special_tokens=False, return_offsets_mapping=True)
    mask = [
        any(first < end and start < last for start, end in spans)
        for first, last in encoded["offset_mapping"]
    ]
    return encoded["input_ids"], mask


def _render(tokenizer: Tokenizer, messages: Sequence[Message], opening: bool = False) -> str:
    turns = [asdict(turn) for turn in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opening))


def _spans(example: Example, tokenizer: Tokenizer, full: str) -> list[tuple[int, int]]:
    """First and last-plus-one character of every assistant turn in the rendered conversation."""
    turns = enumerate(example.messages)
    return [_span(example, tokenizer, full, n) for n, turn in turns if turn.role == "assistant"]


def _span(example: Example, tokenizer: Tokenizer, full: str, number: int) -> tuple[int, int]:
    messages = example.messages
    start = _common(_render(tokenizer, messages[:number], opening=True), full)
    # A line break after the stop token belongs to the template, not to the answer.
    through = full if number + 1 == len(messages) else _render(tokenizer, messages[: number + 1])
    through = through.rstrip()
    if full.startswith(through) and start < len(through):
        return start, len(through)
    # Some templates (Qwen3) render a turn differently once others follow it.
    content = messages[number].content.strip()
    found = full.find(content, start)
    if found < 0:
        raise ModelError(
            f"{example.place}, turn {number + 1}: the chat template of {_name(tokenizer)} rewrites "
            "this answer, so its tokens cannot be found; add {% generation %} to the template"
        )
    end = found + len(content)
    return start, end + _stop(messages[-1].content, full, full[end:], tokenizer)


def _stop(last: str, full: str, after: str, tokenizer: Tokenizer) -> int:
    """How much of `after` is what the template writes behind an answer, read off the last one.

    Control tokens count whole or not at all: Phi-3 ends a conversation with a second one, which
    begins with the same characters as the one of the next turn.
    """
    written = full[full.rfind(last.strip()) + len(last.strip()) :].rstrip()
    control = tokenizer.get_added_vocab()
    names = sorted(map(re.escape, control), key=len, reverse=True)
    shared = 0
    for piece in re.split(f"({'|'.join(names)})", written) if names else [written]:
        same = _common(piece, after[shared:])
        if same < len(piece):
            shared += 0 if piece in control else same
            break
        shared += same
    return len(after[:shared].rstrip())


def _common(one: str, other: str) -> int:
    """How many characters two strings share at their start."""
    if other.startswith(one):
        return len(one)
    return next(n for n, pair in enumerate(zip_longest(one, other)) if pair[0] != pair[1])
