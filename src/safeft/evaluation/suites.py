"""Suites: what to ask. A suite is a YAML that names prompt files in SORRY-Bench's row schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safeft.assets import find, folder, read_yaml
from safeft.data.readers import read
from safeft.data.rows import SourceRow
from safeft.data.taxonomy import domain_of
from safeft.errors import ConfigError, DataError
from safeft.evaluation.attacks import SLOT, attacked
from safeft.evaluation.rows import question
from safeft.evaluation.sorry_bench import BASE, SorryBench, sorry_bench
from safeft.records import Message, Prompt, instructed
from safeft.runs import fingerprint

Kind = Literal["harm", "over_refusal", "jailbreak", "continuation"]
# Becomes a folder's name: no separators, and nothing that starts with a dot.
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class Columns(BaseModel):
    """The columns of a prompt file, in SORRY-Bench's schema unless they are named.

    `prompt.text` is a column within a column; without `category` or `id` there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = "turns"
    category: str = "category"
    id: str = "question_id"


class PromptSet(BaseModel):
    """One file of prompts and what refusing them means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    prompts: str | None = Field(None, description="a shipped prompt file's name, or a path")
    columns: Columns = Field(Columns(), description="where other files keep what")
    where: dict[str, str] = Field(
        default_factory=dict, description="only the rows with these values, column by column"
    )
    sorry_bench: SorryBench | None = Field(None, description="or the benchmark's own files")
    attacks: str | None = Field(None, description="ask each of them under these attacks: a YAML")
    limit: int | None = Field(None, gt=0, description="only the first prompts of the file")
    say: str | None = Field(None, description="said in its place, such as 'Go on: {request}'")

    @model_validator(mode="after")
    def _one_source(self) -> PromptSet:
        if (self.prompts is None) is (self.sorry_bench is None):
            raise ValueError("give prompts or sorry_bench, and not both")
        if self.attacks and self.kind != "jailbreak":
            raise ValueError("attacks: is for sets of kind jailbreak")
        if self.say and SLOT not in self.say:
            raise ValueError(f"say: must hold {SLOT}")
        return self


class SuiteFile(BaseModel):
    """What a suite YAML may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    sets: dict[Name, PromptSet] = Field(min_length=1)
    per_category: int | None = Field(None, gt=0)
    max_new_tokens: int = Field(512, gt=0)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite with its prompts, by set name."""

    name: str
    kinds: dict[str, Kind]
    prompts: dict[str, tuple[Prompt, ...]]
    max_new_tokens: int
    styles: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids and texts: two runs compare only when it is the same."""
        every = self.all_prompts()
        return fingerprint([[x.id, x.asked, *([x.begun] if x.begun else [])] for x in every])

    def instructed(self, system: str) -> Suite:
        """The suite with a system prompt before every prompt; ids and requests stay."""
        prompts = {
            name: tuple(replace(one, messages=instructed(one.messages, system)) for one in part)
            for name, part in self.prompts.items()
        }
        return replace(self, prompts=prompts)

    def all_prompts(self) -> tuple[Prompt, ...]:
        """Every prompt of every set."""
        return tuple(one for part in self.prompts.values() for one in part)

    def first(self, kind: Kind) -> str:
        """The set that stands for the suite, of its kind; '' when there is none."""
        return next((name for name, one in self.kinds.items() if one == kind), "")

    def called(self, name: str) -> str:
        """What a set is called in reports: the first of its kind as the suite itself.

        A mutated benchmark never stands under the plain one's name.
        """
        first = name == self.first(self.kinds[name])
        style = self.styles.get(name, BASE)
        return f"{self.name}{'' if first else f':{name}'}{'' if style == BASE else f'.{style}'}"


def load_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """The suite of a shipped name or a YAML path.

    Raises ConfigError for the YAML, DataError naming the file, row and field for the prompts.
    """
    path = find("eval/suites", name)
    suite = read_yaml(path, SuiteFile, overrides)
    found = {key: _asked(path, one, suite.name, key) for key, one in suite.sets.items()}
    prompts = {
        key: _said(
            _limited(asked[: suite.sets[key].limit], suite.per_category),
            suite.sets[key],
            path.parent,
        )
        for key, (asked, _) in found.items()
    }
    kinds = {key: one.kind for key, one in suite.sets.items()}
    styles = {key: one.sorry_bench.style for key, one in suite.sets.items() if one.sorry_bench}
    sources = tuple(filter(None, (commit for _, commit in found.values())))
    return Suite(suite.name, kinds, prompts, suite.max_new_tokens, styles, sources)


def _said(prompts: tuple[Prompt, ...], one: PromptSet, folder: Path) -> tuple[Prompt, ...]:
    """The prompts as they are put to the model."""
    if one.say:
        prompts = tuple(
            replace(
                prompt,
                messages=(Message("user", one.say.replace(SLOT, prompt.asked)),),
                request=prompt.text,
            )
            for prompt in prompts
        )
    return attacked(prompts, one.attacks, folder) if one.attacks else prompts


def _asked(suite: Path, one: PromptSet, name: str, key: str) -> tuple[list[Prompt], str]:
    """The prompts of a set, and the repository's commit where they come from one."""
    if one.sorry_bench is not None:
        return sorry_bench(one.sorry_bench, f"{name}/{key}")
    return _prompts(_file(suite, str(one.prompts)), one, f"{name}/{key}"), ""


def _file(suite: Path, name: str) -> Path:
    for path in (suite.parent / name, Path(name), folder("eval") / "prompts" / f"{name}.jsonl"):
        if path.is_file():
            return path
    raise ConfigError(f"{suite}: no prompt file {name!r} beside it or among the shipped prompts")


def _prompts(path: Path, one: PromptSet, prefix: str) -> list[Prompt]:
    rows = [row for row in read(path, str(path)) if _wanted(row, one.where)]
    prompts = [_prompt(row, one.columns, prefix) for row in rows]
    if not prompts:
        only = f" with {one.where}" if one.where else ""
        raise DataError(f"{path}: holds no prompts{only}; write one object per line")
    repeated = [key for key, count in Counter(one.id for one in prompts).items() if count > 1]
    if repeated:
        number = repeated[0].removeprefix(f"{prefix}/")
        raise DataError(f"{path}: {one.columns.id} {number} appears twice; number the prompts anew")
    return prompts


def _wanted(row: SourceRow, where: Mapping[str, str]) -> bool:
    for column in where:
        if column not in row.values:
            raise DataError(f"{row.place}: has no column {column!r}, which `where` asks for")
    return all(str(row.values[column]) == value for column, value in where.items())


def _prompt(row: SourceRow, columns: Columns, prefix: str) -> Prompt:
    one = question(row, columns.text, columns.category, columns.id)
    messages = (Message("user", one.text),)
    return Prompt(f"{prefix}/{one.id}", messages, one.category, domain_of(one.category))


def _limited(prompts: Sequence[Prompt], per_category: int | None) -> tuple[Prompt, ...]:
    if per_category is None:
        return tuple(prompts)
    seen: Counter[str] = Counter()
    kept = []
    for prompt in prompts:
        if seen[prompt.category] < per_category or not prompt.category:
            kept.append(prompt)
        seen[prompt.category] += 1
    return tuple(kept)
