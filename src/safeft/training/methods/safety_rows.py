"""Safety rows: harmful prompts with refusals and benign look-alikes with answers, drawn from pools.

Responses are the model's own by default: other people's refusals can make things worse (GR-SAP,
arXiv 2603.10243).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from safeft.assets import folder
from safeft.data import Example, SourceRow
from safeft.data.readers import read
from safeft.data.rows import unwritable
from safeft.data.taxonomy import domain_of
from safeft.errors import DataError, did_you_mean
from safeft.judges.keyword import KeywordJudge
from safeft.records import Decoding, Label, Message, Prompt, Response
from safeft.training.methods.context import Context
from safeft.training.methods.method import Method


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a pool: its prompt, with category and domain, and where it stands."""

    prompt: Prompt
    response: str | None
    number: int


class SafetyRows(Method):
    """The keys of a method that draws safety rows."""

    # The key that decides how many are drawn, for messages.
    amount: ClassVar[str] = "rows"

    lookalikes: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="look-alike rows per harmful row"
    )
    responses: Literal["self", "curated"] = Field(
        "self", description="self: written by the model itself; curated: the pool's `response`"
    )
    pool: str = Field("safety_pool", description="JSONL of harmful prompts: shipped name or path")
    lookalike_pool: str = Field("safety_lookalikes", description="JSONL of benign look-alikes")
    max_new_tokens: int = Field(96, gt=0)
    seed: int = Field(0, description="which rows of the pools are drawn")

    def drawn(self, wanted: int, context: Context) -> tuple[list[Example], list[Example]]:
        """`wanted` harmful rows, refused, and their share of look-alikes, answered.

        Raises DataError when a pool is missing, broken or too small, or when the model refuses too
        few of the harmful prompts to write its own rows.
        """
        benign = round(wanted * self.lookalikes)
        return (
            _drawn(self, self.pool, wanted, context, refusing=True),
            _drawn(self, self.lookalike_pool, benign, context, refusing=False),
        )

    def added_rows(self) -> list[Example]:
        """What the pools ask."""
        pools = {"pool": self.pool, "lookalike_pool": self.lookalike_pool}
        return [
            Example((*row.prompt.messages, Message("assistant", "")), row.number, f"{key} {name!r}")
            for key, name in pools.items()
            for row in read_pool(name, self.name)
        ]


def read_pool(name: str, method: str) -> list[Row]:
    """The rows of a pool: `prompt`, `category`, and optionally `domain` and `response`.

    Raises DataError naming the row and the field.
    """
    path = Path(name) if Path(name).is_file() else folder("recipes") / "data" / f"{name}.jsonl"
    if not path.is_file():
        known = [one.stem for one in (folder("recipes") / "data").glob("*.jsonl")]
        raise DataError(f"{method}: no pool {name!r}{did_you_mean(name, known)}")
    return [_row(path.stem, row) for row in read(path, str(path))]


def _row(pool: str, row: SourceRow) -> Row:
    for field in ("prompt", "category"):
        value = row.values.get(field)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{row.place}: field {field!r} must be a non-empty string")
    for field in ("prompt", "category", "domain", "response"):
        if problem := unwritable(str(row.values.get(field))):
            raise DataError(f"{row.place}: field {field!r} {problem}")
    category = row.values["category"]
    domain = str(row.values.get("domain") or domain_of(category))
    prompt = Prompt.of(row.values["prompt"], f"{pool}-{row.number}", category, domain)
    return Row(prompt, row.values.get("response"), row.number)


def _drawn(
    config: SafetyRows, pool: str, wanted: int, context: Context, *, refusing: bool
) -> list[Example]:
    """`wanted` rows in turn from the domains, with answers of the right kind."""
    if not wanted:
        return []
    rows = balanced(read_pool(pool, config.name), config.seed)
    answers = _curated(rows, pool, config.name) if config.responses == "curated" else {}
    if config.responses == "self":
        # Twice the need at once: the model may answer some harmful prompts or refuse benign ones.
        asked = [row.prompt for row in rows[: 2 * wanted + 8]]
        written = context.write(asked, Decoding(0.0, 0, config.max_new_tokens))
        answers = _of_kind(asked, written, refusing)
    # Balanced once more: the model may have left out many rows of one domain.
    usable = balanced([row for row in rows if row.prompt.id in answers], config.seed)
    if len(usable) < wanted:
        raise DataError(_too_few(config, pool, wanted, len(usable), refusing))
    return [_example(row, answers[row.prompt.id], config.name) for row in usable[:wanted]]


def _too_few(config: SafetyRows, pool: str, wanted: int, found: int, refusing: bool) -> str:
    if config.responses == "curated":
        return (
            f"{config.name}: {wanted} rows of {pool!r} are wanted, but it holds {found}; "
            f"lower `{config.amount}` or `lookalikes`, or give a larger pool"
        )
    kind = "refuses" if refusing else "answers"
    return (
        f"{config.name}: {wanted} rows of {pool!r} are wanted, but the model {kind} only {found}; "
        f"lower `{config.amount}`, give a larger pool, or set responses: curated"
    )


def balanced(rows: Sequence[Row], seed: int) -> list[Row]:
    """Shuffled, then one row per domain in turn, within a domain one per category in turn."""
    draw = random.Random(seed)
    shuffled = draw.sample(list(rows), len(rows))
    seen: Counter[str] = Counter()
    turns = []
    for row in shuffled:
        turns.append((seen[row.prompt.category], row))
        seen[row.prompt.category] += 1
    by_round = sorted(turns, key=lambda turn: turn[0])
    place: Counter[str] = Counter()
    ranked = []
    for _, row in by_round:
        ranked.append((place[row.prompt.domain], row))
        place[row.prompt.domain] += 1
    return [row for _, row in sorted(ranked, key=lambda rank: rank[0])]


def _curated(rows: Sequence[Row], pool: str, method: str) -> dict[str, str]:
    missing = [row.prompt.id for row in rows if not row.response]
    if missing:
        raise DataError(
            f"{method}: responses: curated, but {len(missing)} rows of {pool!r} have no "
            f"`response` (first: {missing[0]}); add them or set responses: self"
        )
    return {row.prompt.id: str(row.response) for row in rows}


def _of_kind(asked: Sequence[Prompt], written: dict[str, str], refusing: bool) -> dict[str, str]:
    verdicts = KeywordJudge()([Response(prompt, written[prompt.id]) for prompt in asked])
    wanted = Label.REFUSED if refusing else Label.FULFILLED
    return {v.prompt_id: written[v.prompt_id] for v in verdicts if v.label is wanted}


def _example(row: Row, answer: str, method: str) -> Example:
    messages = (*row.prompt.messages, Message("assistant", answer))
    return Example(messages, row.number, f"{method}#{row.prompt.category}")
