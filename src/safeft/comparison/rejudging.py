"""Judging apart from generating: another judge over the stored answers, and two judges compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safeft.comparison.answers import NONE, Place, open_stored, places
from safeft.comparison.compare import describe
from safeft.comparison.endpoints import announce_judging
from safeft.comparison.former import set_aside
from safeft.comparison.rules import (
    added,
    identities,
    recipes_of,
    refuse_changed,
    refuse_namesakes,
    refuse_own_teacher,
    refuse_self_grading,
    with_judges,
)
from safeft.errors import DataError, RunError
from safeft.evaluation import judged, verdict_file
from safeft.judges import Judge, load_judge, tell
from safeft.judges.gold import refuse_score
from safeft.records import Label
from safeft.report import Document, write_report
from safeft.runs import fingerprint, locked, read_json, write_json
from safeft.stats import Interval, kappa_by_prompt

GONE = "nothing can be judged again"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two judges agree on one run: κ, the table, and where they differ.

    `measured` is what each reads: two that read different things differ by definition too.
    """

    measured: tuple[str, str]
    kappa: Interval | None
    undefined: str
    table: dict[tuple[str, str], int]
    differing: tuple[str, ...]
    unread: int


def rejudge(
    run: Path,
    judge: str,
    *,
    anew: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> tuple[Document, dict[str, Path]]:
    """Judge every stored answer of a finished run, and write its report with that judge beside.

    What the judge has judged before is kept; nothing is generated. With `anew` what it judged when
    it was another one (an update, an edited YAML) is set aside, and judged by what it is now.
    Raises RunError when the texts are gone, or the judge was another one before.
    """
    planned = open_stored(run)
    with locked(run):
        grader = load_judge(judge)
        refuse_namesakes("judges", [*planned.matrix.judges, *added(run), judge])
        for policy in planned.matrix.policies:
            refuse_self_grading(policy, {judge: grader})
        for recipe in recipes_of(planned.cells):
            refuse_own_teacher(recipe, {judge: grader})
        checked = [] if anew else [judge]
        refuse_changed(run, identities(planned.matrix.model_copy(update={"judges": checked})))
        every = list(places(planned))
        if anew:
            set_aside(planned, every, judge, grader)
        left = [place for place in every if _unjudged(place, judge, grader)]
        if left:
            tell([grader])
            announce_judging(grader, (answer for one in left for answer in one.responses(GONE)))
        for done, place in enumerate(left, len(every) - len(left) + 1):
            path = place.folder / verdict_file(judge, place.policy)
            judged(lambda: grader, place.responses(GONE), path)
            progress(place.name, done, len(every))
        _note(run, judge, grader)
        document = describe(with_judges(planned, added(run)))
        return document, write_report(document, run)


def _unjudged(place: Place, name: str, grader: Judge) -> bool:
    """Whether its verdicts are missing. Raises RunError when another judge gave them."""
    path = place.folder / verdict_file(name, place.policy)
    if not path.is_file():
        return True
    if others := {one.judge for one in place.verdicts(name)} - {grader.name}:
        raise RunError(
            f"{path}: is by {min(others)}, and {name} is {grader.name} now; restore the "
            "former, or have everything judged by the present one (--anew)"
        )
    return False


def _note(run: Path, name: str, grader: Judge) -> None:
    """The manifest says who judged later, as it says who judged first."""
    path = run / "manifest.json"
    manifest = read_json(path)
    manifest.setdefault("judged_later", {})[name] = {"identity": grader.name}
    if name in (first := manifest["config"].get("judges", {})):
        first[name] = {"identity": grader.name}
        manifest["config_hash"] = fingerprint(manifest["config"])
    write_json(path, manifest)


def agreement(run: Path, one: str, other: str) -> Agreement:
    """Two judges of one run, over every answer that no guard withheld.

    Raises RunError when one of them has not judged it, ConfigError when one reads no fulfilment,
    refusal or harm at all, as `toxicity`.
    """
    measured = (_measured(one), _measured(other))
    table: Counter[tuple[str, str]] = Counter()
    read: list[tuple[str, str, str]] = []
    differing = []
    for place in places(open_stored(run)):
        if place.policy != NONE:  # what a guard withheld is refused by rule, in every judge
            continue
        for a, b in zip(place.verdicts(one), place.verdicts(other), strict=True):
            table[str(a.label), str(b.label)] += 1
            if a.label is not b.label:
                differing.append(f"{place.name}: {a.prompt_id}")
            if Label.UNREAD not in (a.label, b.label):
                read.append((str(a.label), str(b.label), a.prompt_id))
    try:
        found, undefined = kappa_by_prompt(read), ""
    except DataError as error:
        found, undefined = None, str(error)
    unread = sum(table.values()) - len(read)
    return Agreement(measured, found, undefined, dict(table), tuple(differing), unread)


def _measured(name: str) -> str:
    """What a judge reads. Raises ConfigError for one whose labels are no verdicts on an answer."""
    judge = load_judge(name)
    refuse_score(name, judge)
    return judge.measures
