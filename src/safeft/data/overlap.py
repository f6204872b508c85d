"""Training rows that ask what an evaluation suite asks: exact copies and near copies."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from safeft.data.formats import Example, listed
from safeft.errors import ConfigError, DataError
from safeft.records import Prompt

WORDS = 5  # words per n-gram
# On Dolly against itself, 0.6 still flags questions that only share a template ("Identify which
# animal is domesticated or wild: …"); from 0.7 up what remains are the same questions, edited.
THRESHOLD = 0.7
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A training row and the evaluation prompt it repeats; `similarity` is 1 for exact copies."""

    source: str
    row: int
    prompt_id: str
    similarity: float
    exact: bool


@dataclass(slots=True)
class _Index:
    """Evaluation prompts by their words and by their n-grams."""

    exact: dict[tuple[str, ...], str] = field(default_factory=dict)
    grams: dict[tuple[str, ...], list[int]] = field(default_factory=lambda: defaultdict(list))
    sizes: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def overlapping(
    examples: Iterable[Example], prompts: Sequence[Prompt], threshold: float = THRESHOLD
) -> list[Overlap]:
    """The examples whose user turns repeat a prompt, each with the prompt it is closest to.

    Exact means equal words, whatever the case, spacing and punctuation. Near means that at least
    `threshold` of the prompt's word 5-grams occur in the training row; the Jaccard index is never
    larger than this containment, so one number covers both. Prompts under five words, and
    scripts without spaces, are found only as exact copies, and a short prompt with a word changed
    in its middle is missed, since that breaks most of its 5-grams.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold: expected above 0 and at most 1, found {threshold}")
    index = _index(prompts)
    found = (_closest(item, index, threshold) for item in examples)
    return [hit for hit in found if hit is not None]


def refuse(
    examples: Iterable[Example],
    prompts: Sequence[Prompt],
    *,
    insist: bool = False,
    threshold: float = THRESHOLD,
) -> list[Overlap]:
    """The overlaps, when there are none or the user insists; else DataError that names some."""
    found = overlapping(examples, prompts, threshold)
    if found and not insist:
        rows = "1 training row repeats" if len(found) == 1 else f"{len(found)} training rows repeat"
        raise DataError(
            f"{rows} evaluation prompts; remove these rows, or insist with --allow-overlap\n"
            + listed([_line(hit) for hit in found])
        )
    return found


def _line(hit: Overlap) -> str:
    kind = "copies" if hit.exact else f"repeats {hit.similarity:.0%} of"
    return f"{hit.source}, row {hit.row}: {kind} prompt {hit.prompt_id}"


def words(text: str) -> tuple[str, ...]:
    """The words of a text, whatever its case, spacing and punctuation."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams(said: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The word 5-grams of a text; none when it is shorter."""
    return {said[start : start + WORDS] for start in range(len(said) - WORDS + 1)}


def _index(prompts: Sequence[Prompt]) -> _Index:
    index = _Index()
    for number, prompt in enumerate(prompts):
        said = words(prompt.text)
        found = grams(said)
        if said:
            index.exact.setdefault(said, prompt.id)
        for gram in found:
            index.grams[gram].append(number)
        index.sizes.append(len(found))
        index.ids.append(prompt.id)
    return index


def _closest(item: Example, index: _Index, threshold: float) -> Overlap | None:
    asked = [words(text) for text in item.requests]
    for said in asked:
        if said in index.exact:
            return Overlap(item.source, item.row, index.exact[said], 1.0, exact=True)
    shared: Counter[int] = Counter()
    for gram in set().union(*map(grams, asked)):
        shared.update(index.grams.get(gram, ()))
    ranked = [(count / index.sizes[number], -number) for number, count in shared.items()]
    similarity, number = max(ranked, default=(0.0, 0))
    if similarity < threshold:
        return None
    return Overlap(item.source, item.row, index.ids[-number], similarity, exact=False)
