"""Suites: what to ask. A suite is a YAML that names prompt files in SORRY-Bench's row schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from safeft.assets import find, folder, read_yaml
from safeft.data.taxonomy import domain_of
from safeft.errors import ConfigError, DataError
from safeft.records import Message, Prompt
from safeft.runs import fingerprint, read_lines

Kind = Literal["harm", "over_refusal"]


class PromptSet(BaseModel):
    """One file of prompts and what refusing them means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    prompts: str = Field(description="a shipped prompt file's name, or a path")


class SuiteFile(BaseModel):
    """What a suite YAML may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    sets: dict[str, PromptSet] = Field(min_length=1)
    per_category: int | None = Field(None, gt=0)
    max_new_tokens: int = Field(512, gt=0)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite with its prompts, by set name."""

    name: str
    kinds: dict[str, Kind]
    prompts: dict[str, tuple[Prompt, ...]]
    max_new_tokens: int

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids and texts: two runs compare only when it is the same."""
        return fingerprint([[one.id, one.text] for part in self.prompts.values() for one in part])

    def all_prompts(self) -> tuple[Prompt, ...]:
        """Every prompt of every set."""
        return tuple(one for part in self.prompts.values() for one in part)


def load_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """The suite of a shipped name or a YAML path.

    Raises ConfigError for the YAML, DataError naming the file, row and field for the prompts.
    """
    path = find("eval/suites", name)
    read = read_yaml(path, SuiteFile, overrides)
    prompts = {
        key: _limited(_prompts(_file(path, one.prompts), read.name, key), read.per_category)
        for key, one in read.sets.items()
    }
    kinds = {key: one.kind for key, one in read.sets.items()}
    return Suite(read.name, kinds, prompts, read.max_new_tokens)


def _file(suite: Path, name: str) -> Path:
    for path in (suite.parent / name, Path(name), folder("eval") / "prompts" / f"{name}.jsonl"):
        if path.is_file():
            return path
    raise ConfigError(f"{suite}: no prompt file {name!r} beside it or among the shipped prompts")


def _prompts(path: Path, suite: str, key: str) -> list[Prompt]:
    rows = read_lines(path)
    if not rows:
        raise DataError(f"{path}: holds no prompts")
    prompts = [_prompt(path, number, row, f"{suite}/{key}") for number, row in enumerate(rows, 1)]
    repeated = [id for id, count in Counter(one.id for one in prompts).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: question_id {repeated[0].rpartition('/')[2]} appears twice")
    return prompts


def _prompt(path: Path, number: int, row: dict[str, Any], prefix: str) -> Prompt:
    turns, category = row.get("turns"), row.get("category")
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) and t for t in turns):
        raise DataError(f"{path}, row {number}: field 'turns' must be a list of non-empty strings")
    if not isinstance(category, str) or "question_id" not in row:
        raise DataError(f"{path}, row {number}: needs 'question_id' and 'category' (a string)")
    if len(turns) > 1:
        raise DataError(f"{path}, row {number}: several turns are not supported; give one")
    messages = (Message("user", turns[0]),)
    return Prompt(f"{prefix}/{row['question_id']}", messages, category, domain_of(category))


def _limited(prompts: Sequence[Prompt], per_category: int | None) -> tuple[Prompt, ...]:
    if per_category is None:
        return tuple(prompts)
    seen: Counter[str] = Counter()
    kept = []
    for prompt in prompts:
        if seen[prompt.category] < per_category:
            kept.append(prompt)
        seen[prompt.category] += 1
    return tuple(kept)
