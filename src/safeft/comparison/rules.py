"""What makes no sense is refused before anything is trained."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from safeft.comparison.cells import Cell, Plan
from safeft.comparison.matrix import Matrix
from safeft.comparison.published import published
from safeft.comparison.settings import DATA
from safeft.errors import (
    ConfigError,
    ModelError,
    RunError,
    UserError,
)
from safeft.evaluation import short
from safeft.generation.imported import ImportedGenerator
from safeft.generation.schema import installed
from safeft.guarding import load_policy
from safeft.guarding.catalogue import output_judge
from safeft.guarding.judge import GuardJudge
from safeft.guarding.loading import checker, named
from safeft.guarding.plainly import PlainReader
from safeft.guarding.rows import common
from safeft.judges import Judge, load_judge, tell
from safeft.models import is_whole
from safeft.runs import read_json
from safeft.training import Recipe

_LOG = logging.getLogger("safeft")
Identities = dict[str, dict[str, dict[str, Any]]]


def check(plan: Plan) -> None:
    """Raises ConfigError for unknown judges or policies and for a guard that would grade itself.

    Raises ConfigError too for one cell under two names, whose workers would write the same files.
    Raises ModelError for adapters that are not there. What only asking would find is looked for
    while there is any to do.
    """
    if not plan.suite.first("harm"):
        raise ConfigError(f"suite {plan.suite.name!r}: a comparison needs a set of kind harm")
    _refuse_twins(plan.cells)
    refuse_namesakes("judges", plan.matrix.judges)
    refuse_namesakes("policies", plan.matrix.policies)
    published(plan)  # refuses what must not stand side by side
    graders = {name: load_judge(name) for name in plan.matrix.judges}
    if unfinished(plan):
        tell(graders.values())
    for name in plan.matrix.policies:
        refuse_self_grading(name, graders)
    for recipe in recipes_of(plan.cells):
        refuse_own_teacher(recipe, graders)
    for name, paths in plan.matrix.adapters.items():
        for path in paths:
            if not (is_whole(path) or (Path(path) / "adapter_config.json").is_file()):
                raise ModelError(f"adapters.{name}: {path} holds no adapter_config.json")
    _refuse_unused(plan)
    for cell in unfinished(plan):
        _refuse_missing(plan, cell)
    if plan.matrix.asked and plan.matrix.remote:
        _refuse_begun(plan)
        installed(plan.matrix.engine)
        plan.matrix.endpoint.key(plan.matrix.engine)  # without one, every request would fail


def _refuse_unused(plan: Plan) -> None:
    """Raises ConfigError for a checkpoint in the model's place that no answer would come from."""
    for cell in plan.cells:
        full = is_whole(cell.adapter) if cell.adapter else cell.recipe and cell.recipe.lora is None
        if full and plan.under(cell.setting).matrix.checkpoint:
            raise ConfigError(
                f"checkpoint: {cell.name!r} is a full fine-tune, with weights of its own: it would "
                "not be what answers; quantise those and name them as `model` of a comparison"
            )


def _refuse_begun(plan: Plan) -> None:
    """Raises ConfigError for answers that are begun for the model: an endpoint takes none."""
    if begun := next((one for one in plan.suite.all_prompts() if one.begun), None):
        raise ConfigError(
            f"suite {plan.suite.name!r}: {begun.domain} begins the model's answer, which no "
            "endpoint takes; leave attacks with `prefill` out, or use a local engine"
        )


def engine_of(plan: Plan, cell: Cell) -> str:
    """What runs the model of a cell."""
    return str(cell.setting.asked.get("engine", plan.matrix.engine))


def by_data(plan: Plan, cells: Iterable[Cell]) -> list[tuple[Plan, list[Cell]]]:
    """The cells by the rows that they are trained on, with the plan as they see it."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(json.dumps(cell.setting.only(DATA)), []).append(cell)
    return [(plan.under(group[0].setting), group) for group in groups.values()]


def _refuse_missing(plan: Plan, cell: Cell) -> None:
    """Raises DataError for a file of answers from elsewhere that lacks one."""
    if cell.answers:
        told = ImportedGenerator(Path(cell.answers), cell.name)
        for ask in plan.asks(cell):
            for decoding in ask.decodings:
                for prompts in plan.suite.prompts.values():
                    told(prompts, decoding)


def _refuse_twins(cells: Iterable[Cell]) -> None:
    first: dict[Path, Cell] = {}
    for cell in cells:
        other = first.setdefault(cell.folder, cell)
        if other is not cell:
            raise ConfigError(
                f"{cell.name!r} is {other.name!r} under another name: nothing in them differs; "
                "keep one of them"
            )


def refuse_namesakes(key: str, names: Iterable[str]) -> None:
    """Raises ConfigError for two YAMLs of one file name: their results would share a file."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(short(name), name)
        if other != name:
            raise ConfigError(
                f"{key}: {other!r} and {name!r} share a name; rename one of the files"
            )


def unfinished(plan: Plan) -> list[Cell]:
    """The cells that there is still something to do for."""
    return [cell for cell in plan.cells if not (cell.folder / "cell.json").is_file()]


def recipes_of(cells: Iterable[Cell]) -> list[Recipe]:
    """Each recipe of the cells once, whatever the number of seeds."""
    return list({cell.name: cell.recipe for cell in cells if cell.recipe}.values())


def refuse_self_grading(name: str, graders: dict[str, Judge]) -> None:
    """Raises ConfigError when a policy guards with one of the graders, or with one of their rows.

    Each judge of each stage counts. It is known by its weights: installed under another name it is
    the same judge.
    """
    for guarding, reader in _guards(name):
        guard = reader.inner if isinstance(reader, PlainReader) else reader
        _refuse_kin(f"policy {name!r} guards with", guarding, guard, graders)


def refuse_own_teacher(recipe: Recipe, graders: dict[str, Judge]) -> None:
    """Raises ConfigError when a guard that decides what a recipe trains is one of the graders."""
    for name in filter(None, (method.asks_guard for method in recipe.methods)):
        _refuse_kin(f"recipe {recipe.name!r} is taught by", name, output_judge(name), graders)


def _refuse_kin(does: str, called: str, guard: GuardJudge, graders: dict[str, Judge]) -> None:
    for grading, judge in graders.items():
        if called == grading or guard.name == judge.name:
            raise ConfigError(
                f"{does} {called!r}, which also grades (judge {grading!r}): it would score "
                "itself; choose another judge for one of them"
            )
        if shared := common(_rows(guard), _rows(judge)):
            raise ConfigError(
                f"{does} {guard.name}, which was trained on {shared} rows of judge {judge.name}: "
                "it would score its own lessons; train one of them on others"
            )


def _guards(policy: str) -> list[tuple[str, GuardJudge]]:
    """The judges of all stages of a policy, second ones among them, as the policy calls them."""
    made = checker(policy)
    made.close()  # nobody asks them anything here
    return named(made)


def _rows(judge: object) -> str:
    """Fingerprints of what a judge was trained on; older weights, and most judges, tell none."""
    return str(getattr(judge, "trained_on", ""))


def identities(matrix: Matrix) -> Identities:
    """What the names of judges and policies stand for now: rules, weights, thresholds, words.

    They belong to the run and not to its cells, so that another judge costs no training.
    """
    judges = {name: {"identity": load_judge(name).name} for name in matrix.judges}
    return {"judges": judges, "policies": {name: _policy(name) for name in matrix.policies}}


def _policy(name: str) -> dict[str, Any]:
    guards = sorted({guard.name for _, guard in _guards(name)})
    return {**_flat(load_policy(name).model_dump(mode="json")), "guard": ", ".join(guards)}


def _flat(values: dict[str, Any], within: str = "") -> dict[str, Any]:
    """A policy's keys as a message calls them, such as `output.threshold`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        found |= _flat(value, f"{within}{key}.") if nested else {f"{within}{key}": value}
    return found


def added(output: Path) -> list[str]:
    """The judges that a run was given later, by `safeft judge run`."""
    return list(read_json(output / "manifest.json").get("judged_later", {}))


def with_judges(plan: Plan, names: Iterable[str]) -> Plan:
    """The same run, reported by these judges too, as far as they can still be loaded."""
    judges = list(dict.fromkeys([*plan.matrix.judges, *filter(_loadable, names)]))
    return replace(plan, matrix=plan.matrix.model_copy(update={"judges": judges}))


def _loadable(name: str) -> bool:
    try:
        load_judge(name)
    except UserError as error:
        _LOG.warning("judge %s, which was added later, is left out of the report: %s", name, error)
        return False
    return True


def refuse_changed(output: Path, now: Identities) -> None:
    """Raises RunError when a name means something else than when the stored cells were made."""
    manifest = output / "manifest.json"
    if not manifest.is_file() or not (output / "cells").is_dir():
        return
    stored = read_json(manifest)
    config = stored.get("config", {})
    judges = config.get("judges", {}) | stored.get("judged_later", {})
    changes = list(_changes({**config, "judges": judges}, now))
    if changes:
        again = "; safeft judge run RUN --judge J --anew judges a finished run again"
        raise RunError(
            f"{output}: {'; '.join(changes)}; its cells were made with the former, and one table "
            "must not mix them: restore what changed, or choose another --output"
            f"{again if any(one.startswith('judge ') for one in changes) else ''}"
        )


def _changes(stored: dict[str, Any], now: Identities) -> Iterator[str]:
    """What differs under names that were there before; open_run speaks of the others."""
    for kind, called in (("judges", "judge"), ("policies", "policy")):
        for name, facts in now[kind].items():
            before = stored.get(kind, {}).get(name, facts)
            for key in sorted({*before, *facts}):
                was, found = before.get(key), facts.get(key)
                if was != found:
                    yield f"{called} {name!r}: {key} was {was!r} and is {found!r}"
