"""The rows of a set scored by a model, kept as they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safeft.data import Example
from safeft.data.masks import Encoded, encode
from safeft.generation.transformers import TransformersGenerator, context_of
from safeft.models import load_model, load_tokenizer
from safeft.runs import Lines, read_json, read_lines, write_json
from safeft.training import model_identity
from safeft.training.erosion import (
    Kind,
    References,
    Scorer,
    own_references,
    read_references,
    scorer,
)
from safeft.training.methods.context import Context

AT_ONCE = 64  # rows between two writes
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """How a set is audited. An empty `policy` leaves the guard out."""

    model: str
    score: Kind = "representation"
    references: Path | None = None
    compliant_model: str = ""
    suites: tuple[str, ...] = ("safeft-44",)
    policy: str = "default"
    max_length: int = 1024
    region: str | None = None
    top: int = 10
    trust_remote_code: bool = False


def scored(
    rows: Sequence[Example], asked: Asked, output: Path, progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One record a row with `score` (None without an answer) and `truncated`; the scorer's facts.

    Raises DataError, ModelError or ConfigError as the references and the model do.
    """
    path, facts = output / "scores.jsonl", output / "references.json"
    if not path.is_file():
        trust = asked.trust_remote_code
        tokenizer = load_tokenizer(asked.model, trust_remote_code=trust)
        model = load_model(asked.model, trust_remote_code=trust)
        cut = min(asked.max_length, context_of(model.config) or asked.max_length)
        references = _references(asked, model, tokenizer, output)
        made = scorer(asked.score, model, tokenizer, references, cut)
        write_json(facts, _facts(made, references, cut))
        _write(path, rows, lambda one: encode(one, tokenizer, cut), made, progress)
    return read_lines(path), read_json(facts)


def _write(
    path: Path,
    rows: Sequence[Example],
    tokens: Callable[[Example], Encoded],
    made: Scorer,
    progress: Progress,
) -> None:
    """Scores in batches that depend on all rows, so that a resumed audit rounds as another does."""

    def records(batch: Sequence[Example]) -> Iterator[dict[str, Any]]:
        part = list(map(tokens, batch))
        for one, score in zip(part, made.score(part), strict=True):
            yield _score(one, float(score))

    with Lines(path) as lines:
        lines.fill(rows, AT_ONCE, records, lambda done: progress("scores", done, len(rows)))


def _score(row: Encoded, score: float) -> dict[str, Any]:
    # JSON has no NaN.
    return {"score": round(score, 6) if math.isfinite(score) else None, "truncated": row.truncated}


def _facts(made: Scorer, references: References, cut: int) -> dict[str, Any]:
    return {
        "source": references.source,
        "max_length": cut,
        "layer": made.layer,
        "distance_by_layer": [round(one, 4) for one in made.distances],
        "auroc": asdict(made.separation),
        "complied": [round(one, 6) for one in made.complied],
        "refused": [round(one, 6) for one in made.refused],
    }


def _references(asked: Asked, model: Any, tokenizer: Any, store: Path) -> References:
    if asked.references is not None:
        return read_references(asked.references)
    written = TransformersGenerator(model, tokenizer, asked.model)
    own = Context(model_identity(asked.model), lambda: written, store)
    if not asked.compliant_model:
        return own_references(own)
    name = asked.compliant_model
    other = Context(model_identity(name), lambda: _generator(name, asked), store)
    return own_references(own, other)


def _generator(name: str, asked: Asked) -> TransformersGenerator:
    trust = asked.trust_remote_code
    tokenizer = load_tokenizer(name, trust_remote_code=trust)
    return TransformersGenerator(load_model(name, trust_remote_code=trust), tokenizer, name)
