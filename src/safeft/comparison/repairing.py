"""`safeft repair`: edits of a trained adapter over a grid of strengths, and the one to take."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safeft.comparison.candidates import Candidate, Repair, candidates
from safeft.comparison.compare import compare, preflight
from safeft.comparison.frontier import ORIGINAL, Frontier, frontier, frontier_csv, said, table
from safeft.comparison.loading import load_matrix
from safeft.comparison.matrix import Matrix
from safeft.data.overlap import refuse
from safeft.errors import ConfigError, DataError, ModelError, UserError
from safeft.report import Document, write_report
from safeft.runs import locked, open_run, read_json, write_json, write_text
from safeft.training import folder_identity, model_identity
from safeft.training.edits import open_adapter
from safeft.training.methods import Context
from safeft.training.methods.realign import lone_context

logger = logging.getLogger("safeft")
EDITS, COMPARISON = "edits", "comparison"


@dataclass(frozen=True, slots=True)
class Repaired:
    """The frontier, the folder of the adapter to take, and the report that shows both."""

    frontier: Frontier
    adapter: Path
    document: Document
    written: dict[str, Path]


def repair(
    wanted: Repair,
    settings: Sequence[str],
    output: Path,
    *,
    insist: bool = False,
    trust_remote_code: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Repaired:
    """Edit the adapter in every way, measure what came out, and write the frontier to `output`.

    `settings` are `key=value` of the comparison (suite, judges, decodings, test_data, …). Run
    again, it goes on where it was killed. Raises ConfigError, DataError or ModelError before
    anything is edited, RunError when `output` holds another repair.
    """
    opened = open_adapter(wanted.adapter)
    for other in filter(None, (wanted.safety_adapter, wanted.harm_adapter)):
        open_adapter(Path(other))
    tried = list(candidates(wanted, len(opened.names)))
    matrix = _matrix(wanted, settings, {ORIGINAL: wanted.adapter})
    place = output / COMPARISON
    suite = preflight(matrix, place, insist=insist, trust_remote_code=trust_remote_code).suite
    refuse([r for one in tried for r in one.edit.added_rows()], suite.all_prompts(), insist=insist)
    identity = _identity(wanted, tried)
    with locked(output):
        open_run(output, identity)
        context = lone_context(wanted.model, output / EDITS, trust_remote_code)
        edited, notes = _edited(wanted, tried, output / EDITS, context, progress)
        matrix = _matrix(wanted, settings, edited)
        document, _ = compare(
            matrix, place, insist=insist, trust_remote_code=trust_remote_code, progress=progress
        )
        document = replace(document, notes=(*notes, *document.notes))
        return _told(wanted, matrix, tried, edited, document, output)


def _matrix(wanted: Repair, settings: Sequence[str], adapters: dict[str, Path]) -> Matrix:
    """The comparison that measures them. Raises ConfigError when utility could not be told."""
    folders = {name: [str(folder)] for name, folder in adapters.items()}
    ours = {"model": wanted.model, "reference": ORIGINAL, "adapters": folders}
    ours["title"] = f"Repair of {wanted.adapter.name}"
    matrix = load_matrix(None, [*settings, *(f"{k}={json.dumps(v)}" for k, v in ours.items())])
    if matrix.test_data is None:
        raise ConfigError(
            "--test-data: missing; without rows of the task nobody can tell what a repair costs"
        )
    return matrix


def _identity(wanted: Repair, tried: Sequence[Candidate]) -> dict[str, Any]:
    """What two commands must have in common to be one repair; ε only picks, and may change."""
    adapter, harm = wanted.safety_adapter, wanted.harm_adapter
    # Absent where there is none, so that a repair from before there was the option goes on.
    given = {"harm_adapter": folder_identity(Path(harm))} if harm else {}
    return given | {
        "adapter": folder_identity(wanted.adapter),
        "model": model_identity(wanted.model),
        "base": model_identity(wanted.base) if wanted.base else None,
        "safety_adapter": folder_identity(Path(adapter)) if adapter else None,
        "edits": {one.name: one.edit.model_dump(mode="json") for one in tried},
    }


def _edited(
    wanted: Repair,
    tried: Sequence[Candidate],
    folder: Path,
    context: Context,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The adapters by name, the original first, and notes on those that are left out."""
    found = {ORIGINAL: folder / ORIGINAL}
    if not found[ORIGINAL].is_dir():
        open_adapter(wanted.adapter).write(found[ORIGINAL], {})
    known, notes = {folder_identity(found[ORIGINAL]): ORIGINAL}, []
    refused: dict[str, UserError] = {}
    for number, one in enumerate(tried):
        if one.edit.name in refused:
            continue
        progress(f"editing: {one.name}", number, len(tried))
        try:
            _edit(one, wanted, folder, context)
        except (DataError, ModelError) as error:
            if wanted.methods:
                raise
            refused[one.edit.name] = error
            notes.append(f"{one.edit.name} is left out: {error}")
            continue
        same = known.setdefault(folder_identity(folder / one.name), one.name)
        if same == one.name:
            found[one.name] = folder / one.name
        else:
            notes.append(f"{one.name} is left out: it is the same adapter as {same}.")
    if len(found) == 1:
        raise next(iter(refused.values()), ModelError("no edit changes this adapter"))
    return found, tuple(notes)


def _edit(one: Candidate, wanted: Repair, folder: Path, context: Context) -> None:
    """The edited adapter, and beside it what the edit notes, which says that it is whole."""
    done = folder / f"{one.name}.json"
    if not (done.is_file() and (folder / one.name).is_dir()):
        notes = one.edit.edit(wanted.adapter, folder / one.name, wanted.model, context)
        write_json(done, one.edit.model_dump(mode="json") | {"notes": notes})
    logger.info("%s: %s", one.name, read_json(done)["notes"])


def _told(
    wanted: Repair,
    matrix: Matrix,
    tried: Sequence[Candidate],
    edited: dict[str, Path],
    document: Document,
    output: Path,
) -> Repaired:
    """The frontier and the pick, as files."""
    asked = matrix.judges[0], min(matrix.decodings.temperatures)
    found = frontier(document, list(edited), *asked, wanted.epsilon)
    strengths = {one.name: one.strength for one in tried}
    words, pick = (*said(found), *document.notes), found.pick.name
    label = document.labels.get(pick), "pick"
    shown = replace(
        document,
        notes=words,
        tables=(table(found, strengths),),
        labels=document.labels | {pick: ", ".join(filter(None, label))},
    )
    written = write_report(shown, output)
    write_text(output / "frontier.csv", frontier_csv(found, strengths))
    adapter = edited[pick]
    write_json(
        output / "repair.json",
        {
            "pick": pick,
            "adapter": str(adapter.relative_to(output)),
            "epsilon": wanted.epsilon,
            "judge": asked[0],
            "temperature": asked[1],
            "frontier": [one.name for one in found.points if found.best(one)],
        },
    )
    return Repaired(found, adapter, shown, written)
