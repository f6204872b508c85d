"""SORRY-Bench (arXiv 2406.14598) from its gated repositories, or from a copy of their files.

Its prompts may not be passed on, so nothing of them ships: they are read at run time with the
user's own access.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from safeft.data.layout import download
from safeft.data.readers import READERS, read
from safeft.data.rows import SourceRow
from safeft.data.taxonomy import EDITIONS, Edition, domain_of
from safeft.errors import DataError, did_you_mean
from safeft.evaluation.ciphers import CIPHERS
from safeft.evaluation.rows import Question, question
from safeft.records import Message, Prompt

REPOSITORIES: dict[Edition, str] = {
    "2025-03": "sorry-bench/sorry-bench-202503",
    "2024-06": "sorry-bench/sorry-bench-202406",
}
EACH = 10  # prompts a category
BASE = "base"
WRITING = ("question", "slang", "uncommon_dialects", "technical_terms", "role_play", "misspellings")
PERSUASION = (
    "logical_appeal",
    "authority_endorsement",
    "misrepresentation",
    "evidence-based_persuasion",
    "expert_endorsement",
)
TRANSLATED = ("translate-ml", "translate-ta", "translate-mr", "translate-zh-cn", "translate-fr")
STYLES = (BASE, *WRITING, *PERSUASION, *CIPHERS, *TRANSLATED)


class SorryBench(BaseModel):
    """Which edition, at which commit, in which style."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edition: Edition
    revision: str | None = Field(None, description="a commit; null = the hub's current one")
    folder: str | None = Field(None, description="a local copy of the repository's files")
    style: str = Field(BASE, description="base, or one of the 20 linguistic mutations")

    @field_validator("style")
    @classmethod
    def _known(cls, given: str) -> str:
        if given not in STYLES:
            raise ValueError(f"no style{did_you_mean(given, STYLES)}")
        return given


def sorry_bench(source: SorryBench, prefix: str) -> tuple[list[Prompt], str]:
    """The prompts of one style, each with the plain request behind it, and where they are from.

    In the order of their ids; the source is `org/name@commit`, or empty for a local copy.

    The encodings are computed from the base prompts; the other styles are read from the files.
    Raises DataError without access, and for files that are not this edition's.
    """
    files = _files(source, prefix.rpartition("/")[2])
    base = _questions(files, BASE, source.edition)
    if source.style == BASE or source.style in CIPHERS:
        asked = base
    else:
        asked = _questions(files, source.style, source.edition)
    prompts = [_prompt(asked[number], base[number].text, source, prefix) for number in sorted(base)]
    # The Hub's cache names the folder after the commit.
    return prompts, "" if source.folder else f"{_repository(source)}@{files.name}"


def _prompt(one: Question, plain: str, source: SorryBench, prefix: str) -> Prompt:
    cipher = source.style if source.style in CIPHERS else ""
    text = CIPHERS[cipher].encode(one.text) if cipher else one.text
    return Prompt(
        id=f"{prefix}/{one.id}",
        messages=(Message("user", text),),
        category=one.category,
        domain=domain_of(one.category, source.edition),
        request="" if source.style == BASE else plain,
        cipher=cipher,
    )


def _files(source: SorryBench, key: str) -> Path:
    """The folder that holds the repository's files, for the suite's set of that key."""
    if source.folder is not None:
        folder = Path(source.folder).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; give a copy of {_repository(source)}")
        return folder
    try:
        return download(_repository(source), source.revision, [f"*{one}" for one in READERS])
    except DataError as error:
        place = f"sets.{key}.sorry_bench.folder=DIR"
        raise DataError(
            f"{error}{_access(str(error), _repository(source))}; or give a copy of its files: "
            f"--suite-set {place} (in a comparison's YAML suite_set: [{place}])"
        ) from error


def _access(said: str, repository: str) -> str:
    """How the terms are accepted, unless the hub was there to say it."""
    if "is gated" in said:
        return ""
    return (
        f". Its prompts are gated: accept the terms on https://huggingface.co/datasets/{repository}"
        ", then `hf auth login`, or set HF_TOKEN"
    )


def _repository(source: SorryBench) -> str:
    return REPOSITORIES[source.edition]


def _questions(folder: Path, style: str, edition: Edition) -> dict[int, Question]:
    """The questions of one style by their ids, which say the category."""
    path, rows = _rows(folder, style)
    found: dict[int, Question] = {}
    for row in rows:
        one = question(row)
        number = _number(row, one, edition)
        if number in found:
            raise DataError(f"{row.place}: question_id {number} appears twice")
        found[number] = one
    expected = EACH * len(EDITIONS[edition])
    if len(found) != expected:
        raise DataError(
            f"{path}: holds {len(found)} prompts of style {style!r}, but the edition of {edition} "
            f"has {expected}; is it a file of the other edition, or cut?"
        )
    return found


def _rows(folder: Path, style: str) -> tuple[Path, Sequence[SourceRow]]:
    """The rows of a style: from its own file, or from one that holds several styles."""
    name = "question" if style == BASE else f"question_{style}"
    own = [path for path in _data(folder) if path.stem == name]
    for path in own or _data(folder):
        rows = [row for row in read(path, str(path)) if row.values.get("prompt_style") == style]
        if rows:
            return path, rows
    raise DataError(
        f"{folder}: holds no prompts of style {style!r}: looked for {name}.jsonl and for rows "
        f"with prompt_style {style!r}; copy all files of the repository"
    )


def _data(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in READERS]


def _number(row: SourceRow, one: Question, edition: Edition) -> int:
    """The id, once it agrees with the category as in every file of the benchmark."""
    number, last = int(one.id) if one.id.isdigit() else 0, len(EDITIONS[edition])
    category = (number - 1) // EACH + 1
    if not 1 <= category <= last:
        raise DataError(
            f"{row.place}: question_id {one.id} lies outside 1 to {EACH * last}, the edition of "
            f"{edition}; is it a file of the other edition?"
        )
    if one.category != str(category):
        raise DataError(
            f"{row.place}: question_id {number} belongs to category {category}, but its row says "
            f"{one.category!r}; is it a file of the other edition?"
        )
    return number
