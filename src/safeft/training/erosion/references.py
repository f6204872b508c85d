"""What rows are compared with: harmful requests that are refused, and the same ones complied with.

Nothing hazardous is needed. The requests are those of the shipped safety pool, the refusals are the
model's own. Compliance is a bare opening in our own words, answered no further; a model that has
never met a refusal may write it instead (`testbed:base`, whose answers know nothing), or the user's
file holds both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safeft.data import Example, SourceRow
from safeft.data.readers import read
from safeft.data.rows import unwritable
from safeft.errors import DataError
from safeft.judges.keyword import KeywordJudge
from safeft.records import Decoding, Label, Message, Prompt, Response
from safeft.training.methods.context import Context
from safeft.training.methods.safety_rows import read_pool

POOL = "safety_pool"
PROMPTS = 88  # harmful requests that are asked: two of each of the pool's categories
LEAST = 8  # pairs under which nothing is scored
TOKENS = 64  # room for a refusal; its first words decide
OPENINGS = (
    "Sure, here is how.",
    "Of course. Here is what you asked for.",
    "Yes, I can do that. Let's begin.",
    "Certainly! Follow these steps.",
    "Here you go. First, get everything ready.",
    "No problem, this is how it is done.",
    "Absolutely. I will explain it step by step.",
    "Gladly. Here is a full answer to your request.",
)
"""How an answer begins that complies; no more of it is written."""
FIELDS = ("prompt", "refusal", "compliance")


@dataclass(frozen=True, slots=True)
class References:
    """Pairs by request: `refused[i]` declines what `complied[i]` sets out to do."""

    refused: tuple[Example, ...]
    complied: tuple[Example, ...]
    source: str

    def __len__(self) -> int:
        return len(self.refused)


def own_references(context: Context, compliant: Context | None = None) -> References:
    """The model's own refusals of the pool's requests, beside openings or `compliant`'s answers.

    Only requests that it refuses count, and of `compliant` only answers that do not refuse, by the
    keyword judge. Raises DataError when fewer than eight pairs are left.
    """
    prompts = _spread([row.prompt for row in read_pool(POOL, "audit")])
    decoding = Decoding(0.0, 0, TOKENS)
    refusals = _labelled(prompts, context.write(prompts, decoding), Label.REFUSED)
    if compliant is None:
        turns = enumerate(refusals)
        answers = {name: OPENINGS[place % len(OPENINGS)] for place, name in turns}
    else:
        answers = _labelled(prompts, compliant.write(prompts, decoding), Label.FULFILLED)
    paired = [one for one in prompts if one.id in refusals and one.id in answers]
    if len(paired) < LEAST:
        raise DataError(
            f"the model refuses {len(refusals)} of {len(prompts)} harmful requests of {POOL!r}, "
            f"and {len(paired)} of them are complied with in the references; {LEAST} are needed. "
            "Score rows with an aligned model, or give --references of your own"
        )
    how = "bare openings" if compliant is None else "answers of the compliant model"
    return References(
        _examples(paired, refusals), _examples(paired, answers), f"{POOL}: own refusals, {how}"
    )


def read_references(path: Path) -> References:
    """Pairs of a file: `prompt`, `refusal` and `compliance`, a row each.

    Raises DataError naming the file, the row and the field, or when there are fewer than eight.
    """
    if not path.is_file():
        raise DataError(f"--references: {path}: no such file")
    rows = list(read(path, str(path)))
    for row in rows:
        _check(row)
    if len(rows) < LEAST:
        raise DataError(f"{path}: has {len(rows)} rows; give {LEAST} pairs or more")
    return References(
        tuple(_example(str(row.values["prompt"]), str(row.values["refusal"])) for row in rows),
        tuple(_example(str(row.values["prompt"]), str(row.values["compliance"])) for row in rows),
        path.name,
    )


def _check(row: SourceRow) -> None:
    for field in FIELDS:
        value = row.values.get(field)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{row.place}: field {field!r} must be a non-empty string")
        if problem := unwritable(value):
            raise DataError(f"{row.place}: field {field!r} {problem}")


def _spread(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Every so many of the pool, which is ordered by category."""
    return list(prompts[:: max(1, len(prompts) // PROMPTS)])[:PROMPTS]


def _labelled(
    prompts: Sequence[Prompt], written: Mapping[str, str], wanted: Label
) -> dict[str, str]:
    """The answers of one kind, by prompt id."""
    verdicts = KeywordJudge()([Response(one, written[one.id]) for one in prompts])
    return {one.prompt_id: written[one.prompt_id] for one in verdicts if one.label is wanted}


def _examples(prompts: Sequence[Prompt], answers: Mapping[str, str]) -> tuple[Example, ...]:
    return tuple(_example(one.asked, answers[one.id]) for one in prompts)


def _example(request: str, answer: str) -> Example:
    return Example((Message("user", request), Message("assistant", answer)), 0, "reference")
