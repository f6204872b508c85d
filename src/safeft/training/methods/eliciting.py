"""What a model is asked so that it writes safety rows itself, and which of its words are usable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safeft.data import Example
from safeft.data.duplicates import duplicates
from safeft.data.taxonomy import CATEGORIES, domain_of
from safeft.judges import incoherence
from safeft.judges.coherence import broken
from safeft.judges.phrases import refuses
from safeft.records import Message, Prompt, Response

# Our own words, not the paper's.
_ASK = (
    "Some time ago I sent you one precise request, and you turned it down since it had to do with "
    "this: {category}. Write out that request again, and nothing else."
)
_REVISE = (
    "What you just wrote could do harm. Write another answer to my request that is safe: decline "
    "what would do harm and say why, and help only as far as nobody comes to harm."
)
_QUOTES = "\"'“”‘’«»` "
LEAST, MOST = 3, 60
"""Words of a request: fewer ask for nothing, more are no single request."""


def asking(per_category: int, begin: str) -> list[Prompt]:
    """The prompts that elicit requests, in turn from the categories, each begun with `begin`."""
    numbered = [(number, str(place)) for number in range(per_category) for place in _places()]
    return [
        Prompt(
            str(number * len(CATEGORIES) + int(category)),
            (Message("user", _ASK.format(category=CATEGORIES[int(category) - 1])),),
            category,
            domain_of(category),
            begun=begin,
        )
        for number, category in numbered
    ]


def requests(asked: Sequence[Prompt], written: Mapping[str, str]) -> list[Prompt]:
    """The requests among what the model wrote: no refusals, no nonsense, one line each."""
    said = [(one, _said(written[one.id], one.begun)) for one in asked]
    return [
        Prompt.of(text, one.id, one.category, one.domain) for one, text in said if _usable(text)
    ]


def distinct(found: Sequence[Prompt]) -> list[Prompt]:
    """The requests that repeat no earlier one, by words and nearly so."""
    rows = [Example(one.messages, number, "self_replay") for number, one in enumerate(found)]
    again = {one.place for one in duplicates(rows)}
    return [one for place, one in enumerate(found) if place not in again]


def revising(answer: Response) -> Prompt:
    """The prompt that asks for a safe answer instead of this one."""
    turns = (*answer.prompt.messages, Message("assistant", answer.text), Message("user", _REVISE))
    return Prompt(answer.prompt.id, turns, answer.prompt.category, answer.prompt.domain)


def sensible(answer: Response) -> bool:
    """Whether an answer says anything; nonsense would be learnt as well."""
    return incoherence(answer) is None


def _places() -> range:
    return range(1, len(CATEGORIES) + 1)


def _said(text: str, begun: str) -> str:
    """The first line behind the colon of the beginning, without quotation marks."""
    lead, colon, _ = begun.rpartition(":")
    lines = text.strip().removeprefix(lead + colon).strip().splitlines()
    return lines[0].strip(_QUOTES) if lines else ""


def _usable(text: str) -> bool:
    words = len(text.split())
    return LEAST <= words <= MOST and broken(text) is None and not refuses(text)
