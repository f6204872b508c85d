"""`safeft audit`: every row of a set scored and searched before anything is trained on it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safeft.comparison.audited import audited, sign_rows
from safeft.comparison.scored import Asked, Progress, scored
from safeft.comparison.screening import Screen
from safeft.data import Example
from safeft.data.formats import fingerprint as data_fingerprint
from safeft.data.personal import counts, finds_phones, hidden
from safeft.evaluation import Suite, load_suite
from safeft.report.audit import Audit, AuditedRow, audit_markdown, audit_svg
from safeft.runs import locked, open_run, write_text
from safeft.training import model_identity
from safeft.training.erosion import read_references

EXCERPT = 80  # characters of a prompt that is named


def audit(
    name: str, rows: Sequence[Example], asked: Asked, output: Path, progress: Progress
) -> Audit:
    """Score and search the rows, write audit.jsonl, audit.md and audit.svg into `output`.

    Run again it goes on where it stopped; a finished one is read. Raises ConfigError, DataError or
    ModelError for what the user can fix, RunError when `output` holds another audit.
    """
    suites = [load_suite(one) for one in asked.suites]
    screen = Screen.of(asked.policy) if asked.policy else None
    counts("", asked.region)  # a wrong region is refused before an hour of scoring
    with locked(output):
        open_run(output, _identity(rows, asked, suites, screen))
        scores, facts = scored(rows, asked, output, progress)
        guarded = screen.read(rows, output / "guard.jsonl", progress) if screen else []
        found = audited(rows, asked, suites, scores, guarded)
        made = Audit(
            title=name,
            rows=found,
            method=_method(asked, facts),
            separation=_separation(facts),
            signs=tuple(sign_rows(found)),
            complied=tuple(facts["complied"]),
            refused=tuple(facts["refused"]),
            notes=tuple(_notes(scores, screen, facts)),
            excerpts=_excerpts(rows, found, asked),
        )
        _write(made, output, asked.top)
    return made


def _identity(
    rows: Sequence[Example], asked: Asked, suites: Sequence[Suite], screen: Screen | None
) -> dict[str, Any]:
    references = asked.references
    if references is not None:
        read_references(references)  # a message about the file before anything is opened
    return {
        "data_fingerprint": data_fingerprint(rows),
        "model": asked.model,
        "model_hash": model_identity(asked.model),
        "score": asked.score,
        "references": hashlib.sha256(references.read_bytes()).hexdigest() if references else "own",
        "compliant_model": model_identity(asked.compliant_model) if asked.compliant_model else "",
        "suites": {one.name: one.fingerprint for one in suites},
        "policy": asked.policy,
        "judge": screen.judge.name if screen else "",
        "max_length": asked.max_length,
        "region": asked.region,
    }


def _method(asked: Asked, facts: dict[str, Any]) -> str:
    if asked.score == "gradient":
        return f"gradient opposed to the refusals of {asked.model}"
    layers = len(facts["distance_by_layer"]) - 1
    return (
        f"representation (LARF, arXiv 2507.18631) at layer {facts['layer']} of {layers} "
        f"of {asked.model}"
    )


def _separation(facts: dict[str, Any]) -> str:
    area = facts["auroc"]
    return (
        f"{facts['source']}; complied and refused ones are told apart with AUROC "
        f"{area['estimate']:.3f} [{area['low']:.3f}, {area['high']:.3f}], n={area['n']} pairs, "
        "each scored against the others"
    )


def _notes(
    scores: Sequence[dict[str, Any]], screen: Screen | None, facts: dict[str, Any]
) -> Iterator[str]:
    cut = sum(one["truncated"] for one in scores)
    bare = sum(one["score"] is None for one in scores)
    if cut:
        yield f"{cut} of {len(scores)} rows are longer than {facts['max_length']} tokens: cut there"
    if bare:
        yield f"{bare} of {len(scores)} rows have no answer to read there and no score"
    if facts["auroc"]["low"] <= 0.5:
        yield "the references are not told apart: the scores say nothing about this model"
    if screen is None:
        yield "no guard read the answers (--policy none)"
    else:
        yield f"guard: {screen.judge.name}, by policy {screen.policy.name}; it errs, too"
    if not finds_phones():
        yield "phone numbers were not looked for: pip install 'safeft[audit]'"
    if not _draws():
        yield "audit.svg was not drawn: pip install 'safeft[report]'"


def _draws() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _excerpts(rows: Sequence[Example], found: Sequence[AuditedRow], asked: Asked) -> dict[str, str]:
    """The beginnings of the highest-scored rows' requests, without personal data."""
    named = (
        row
        for row, one in zip(rows, found, strict=True)
        if one.rank is not None and one.rank <= asked.top
    )
    return {row.place: _excerpt(hidden(row.requests[-1], asked.region)) for row in named}


def _excerpt(text: str) -> str:
    line = "".join(one if one.isprintable() else " " for one in " ".join(text.split()))
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1].rstrip() + "…"


def _write(made: Audit, output: Path, top: int) -> None:
    """The three files; the drawing only where matplotlib is installed."""
    lines = [json.dumps(asdict(one), ensure_ascii=False) for one in made.rows]
    write_text(output / "audit.jsonl", "".join(line + "\n" for line in lines))
    write_text(output / "audit.md", audit_markdown(made, top))
    if _draws():
        write_text(output / "audit.svg", audit_svg(made))
