"""The main job: recipes × training seeds, trained, asked, judged and compared in one table."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from safeft.comparison.capabilities import refuse_mixed
from safeft.comparison.cells import Cell, Plan, identity_of, plan
from safeft.comparison.checkpoints import checkpoints
from safeft.comparison.comparing import comparisons
from safeft.comparison.correcting import corrected, remember
from safeft.comparison.endpoints import announce
from safeft.comparison.estimating import estimates
from safeft.comparison.incoherence import faults, incoherent, warned
from safeft.comparison.learning import labelled, learned
from safeft.comparison.local import check_local
from safeft.comparison.matrix import Matrix
from safeft.comparison.multipliers import against_untuned, multipliers
from safeft.comparison.notes import notes, runs
from safeft.comparison.pool import Workers, default_workers
from safeft.comparison.published import published
from safeft.comparison.readings import measured
from safeft.comparison.rules import (
    added,
    by_data,
    check,
    engine_of,
    identities,
    recipes_of,
    refuse_changed,
    unfinished,
    with_judges,
)
from safeft.comparison.sharing import shares
from safeft.comparison.slices import categories
from safeft.comparison.spread import stability, variances
from safeft.comparison.varying import varying
from safeft.comparison.work import ask_only, train_only, work
from safeft.data import Example
from safeft.data.overlap import refuse
from safeft.generation.schema import VLLM
from safeft.guarding.catalogue import output_judge
from safeft.report import Document, write_report
from safeft.runs import git_revision, locked, open_run, versions
from safeft.training import added_rows, write_ahead

logger = logging.getLogger("safeft")


def compare(
    matrix: Matrix,
    output: Path,
    *,
    insist: bool = False,
    trust_remote_code: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> tuple[Document, dict[str, Path]]:
    """Run what is missing of the comparison, and write its report into `output`.

    Raises ConfigError, DataError or ModelError before anything is trained; RunError when `output`
    holds another comparison, or cells that were made when a judge or policy was another one.
    `progress` hears (what is done, how many, of how many).
    """
    planned = plan(matrix, output, trust_remote_code=trust_remote_code)
    _check(planned, output, insist)
    with Workers(_side_by_side(planned)) as workers:
        workers.call(check_local, planned)
        with locked(output):
            named = identities(matrix)
            refuse_changed(output, named)
            open_run(output, {"comparison": matrix.identity(), **named})
            remember(output, matrix.correction)
            announce(planned)
            _work(planned, workers, progress)
            document = describe(with_judges(planned, added(output)))
            return document, write_report(document, output)


def preflight(
    matrix: Matrix, output: Path, *, insist: bool = False, trust_remote_code: bool = False
) -> Plan:
    """The resolved comparison, once nothing speaks against it. Raises as `compare` does."""
    planned = plan(matrix, output, trust_remote_code=trust_remote_code)
    _check(planned, output, insist)
    check_local(planned)
    return planned


def _check(planned: Plan, output: Path, insist: bool) -> None:
    check(planned)
    asked = list(dict.fromkeys([*planned.suite.all_prompts(), *planned.goals]))
    refuse(_trained_on(planned), asked, insist=insist)
    refuse_changed(output, identities(planned.matrix))


def _side_by_side(planned: Plan) -> int:
    """How many workers run the first tasks; 0 where there are none, or this process does them."""
    if not (todo := unfinished(planned)):
        return 0
    apart = [cell for cell in todo if cell.recipe or engine_of(planned, cell) != VLLM]
    if shares(planned, apart):
        return planned.matrix.workers or 1
    return min(planned.matrix.workers or default_workers(), len(todo)) if apart else 0


def _trained_on(planned: Plan) -> list[Example]:
    """The data and whatever the recipes' methods may add to it, each row once."""
    recipes = {cell.name: cell.recipe for cell in planned.cells if cell.recipe}
    added = (row for recipe in recipes.values() for row in added_rows(recipe))
    drawn = (row for one, _ in by_data(planned, planned.cells) for row in one.train)
    return list(dict.fromkeys([*planned.train, *drawn, *added]))


def _work(planned: Plan, workers: Workers, progress: Callable[[str, int, int], None]) -> None:
    """Every cell that is not finished, in worker processes."""
    todo = unfinished(planned)
    done, total = len(planned.cells) - len(todo), len(planned.cells)
    progress("finished before", done, total)
    if not todo:
        return
    # Text that several cells train on is written once, before they start side by side.
    for here, cells in by_data(planned, todo):
        for recipe in recipes_of(cells):
            trust = planned.trust_remote_code
            write_ahead(recipe, here.matrix.model, here.train, here.store, trust, output_judge)
    ordered = _longest_first(planned, todo)
    count = min(planned.matrix.workers or default_workers(), len(todo))
    alone = [cell for cell in ordered if engine_of(planned, cell) != VLLM]
    shared = shares(planned, alone)
    # One vLLM engine answers for all, in this process, once nobody trains any more.
    served = [cell for cell in ordered if engine_of(planned, cell) == VLLM]
    apart = list({cell.training: cell for cell, _ in shared if cell.recipe}.values())
    for cells in (_trained_once(ordered), served, apart):
        for name in workers.run_all(partial(train_only, planned), cells, count):
            progress(name, done, total)
    for name in workers.run_all(partial(ask_only, planned), shared, planned.matrix.workers or 1):
        progress(name, done, total)
    for cells, processes in ((alone, count), (served, 1)):
        for name in workers.run_all(partial(work, planned), cells, processes):
            done += 1
            progress(name, done, total)


def _trained_once(cells: list[Cell]) -> list[Cell]:
    """One cell for each training that several share, so that no two workers train it."""
    shared = Counter(cell.training for cell in cells if cell.recipe)
    first = {cell.training: cell for cell in reversed(cells)}
    return [first[training] for training, count in shared.items() if count > 1]


def _longest_first(planned: Plan, cells: list[Cell]) -> list[Cell]:
    """Cells with the most to ask first, so that no worker is left alone with one at the end."""
    return sorted(cells, key=lambda cell: -(cell.epochs + len(planned.asks(cell))))


def describe(planned: Plan) -> Document:
    """The document of a finished comparison, computed from its cells."""
    refuse_mixed(planned)
    gains = learned(planned)
    found = estimates(planned)
    broken = incoherent(planned, found)
    labels = _beside(labelled(gains), broken)
    by_hand = corrected(planned, labels)
    matrix = planned.matrix
    return Document(
        title=matrix.title,
        estimates=(
            *found,
            *faults(planned),
            *stability(planned),
            *gains,
            *by_hand.rates,
            *published(planned),
            *multipliers(planned),
        ),
        comparisons=(
            *comparisons(planned),
            *against_untuned(planned),
            *by_hand.differences,
            *categories(planned),
            *checkpoints(planned),
        ),
        variance=(*variances(planned), *varying(planned)),
        runs=runs(planned),
        notes=(*warned(broken), *notes(planned, labels), *by_hand.notes),
        provenance=_provenance(planned),
        labels=labels,
        level=matrix.level,
        judges=measured(matrix),
    )


def _provenance(planned: Plan) -> dict[str, str]:
    suite = f"{planned.suite.name} ({planned.suite.fingerprint[:12]})"
    data = f"{planned.matrix.data} ({planned.source[:12]}), {len(planned.train)} rows"
    return {
        "command": " ".join(["safeft", *sys.argv[1:]]),
        "git": git_revision(),
        "data": data,
        "suite": " ".join([suite, *planned.suite.sources]),
        "model": _model(planned.matrix),
        "engine": _engines(planned),
        **versions(),
    }


def _model(matrix: Matrix) -> str:
    if matrix.remote or not matrix.asked:
        return identity_of(matrix)
    return f"{matrix.model} ({identity_of(matrix).rpartition('@')[2][:12]})"


def _engines(planned: Plan) -> str:
    """Whatever answered, as the estimates name it."""
    if planned.matrix.remote:
        return f"openai ({planned.matrix.engine})"
    return ", ".join(sorted({engine_of(planned, cell) for cell in planned.cells}))


def _beside(*labels: dict[str, str]) -> dict[str, str]:
    """All that is said of each recipe, in one label."""
    names = dict.fromkeys(name for one in labels for name in one)
    return {name: ", ".join(one[name] for one in labels if name in one) for name in names}
