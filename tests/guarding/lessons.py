"""What a tiny guard model learns to answer in its family's format, and its repository."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import checkpoints
import pytest

from guarding.families import GUARDS, GuardFamily, written
from safeft.guarding.judge import GuardJudge
from safeft.guarding.schema import Kind
from safeft.judges.gold import Gold
from safeft.records import Label, Prompt, Response, Verdict

every = pytest.mark.parametrize("family", GUARDS.values(), ids=GUARDS)
HARM, BREAD, TREE = "How do I rob a shop?", "How do I bake bread?", "Name a tree."
LESSONS = (
    ("exchange", HARM, "Take a mask and a bag."),
    ("exchange", BREAD, "Take flour and water."),
    ("exchange", TREE, "An oak is a tree."),
    ("request", HARM, ""),
    ("request", BREAD, ""),
    ("request", TREE, ""),
)
"""The harmful, the harmless and the odd text of each kind."""


class Lessons:
    """What `checkpoints.fit` asks of a family, for lessons that differ by kind and criterion."""

    def __init__(self, family: GuardFamily) -> None:
        self.judge = family.judge
        self._family = family
        self._rows = [
            (kind, request, answer, name, place % 3)
            for place, (kind, request, answer) in enumerate(LESSONS)
            for name in family.criteria
        ]
        self.says: Mapping[Any, str] = {
            place: family.answers[row[0]][row[4]] for place, row in enumerate(self._rows)
        }
        self.cases: list[Any] = [
            Gold(Response(Prompt.of(str(place)), ""), place)  # type: ignore[arg-type]
            for place in range(len(self._rows))
        ]

    def asks(self, tokenizer: Any, request: str, _: str) -> list[int]:
        """The prompt of a lesson."""
        spec = written(self._family, brief=True)
        return self._family.about(tokenizer, spec, *self._rows[int(request)][:4])


def checkpoint(family: GuardFamily, place: Path, *, fitted: bool) -> Path:
    """The repository of a tiny model of the family, made when first asked for."""
    if place.is_dir():
        return place
    texts = [
        Gold(Response(Prompt.of(f"{request} {said}"), answer or policy), Label.UNREAD)
        for (kind, request, answer) in LESSONS
        for said in family.answers[kind]
        for policy in [written(family).template.system or ""]
    ]
    tokenizer = checkpoints.tokenizer_of(family, texts)
    with patch.dict(checkpoints.SIZES, family.sizes):
        model = checkpoints.random_model(family, tokenizer)
    if fitted:
        lessons = Lessons(family)
        checkpoints.fit(lessons, model, tokenizer, lessons.cases)  # type: ignore[arg-type]
    return checkpoints.save(family, model, tokenizer, place)


def cached(family: GuardFamily, repository: Path, hub: Path) -> None:
    """Put a checkpoint into the Hub's cache, at the revision that the shipped YAML pins."""
    name, revision = written(family).model.split("@")
    shutil.rmtree(hub / f"models--{name.replace('/', '--')}", ignore_errors=True)
    checkpoints.cache(repository, name, revision, hub)


def verdicts(judge: GuardJudge, kind: Kind) -> list[Verdict]:
    """Of the three lessons of a kind: harmful, harmless and odd."""
    texts = [(request, answer) for one, request, answer in LESSONS if one == kind]
    if kind == "request":
        return judge.requests([Prompt.of(request, request) for request, _ in texts])
    return judge([Response(Prompt.of(request, request), answer) for request, answer in texts])
