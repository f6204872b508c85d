"""Looks estimates up: which lines a table has, and which number belongs in which cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from safeft.records import ComparisonRow, Estimate, Row
from safeft.report.document import Document, Run

FULFILMENT = "fulfilment_rate"
OVERALL = "overall"
UNGUARDED = ("", "none", "off")
# Measured on suites of their own, so they are not looked up beside the fulfilment rate.
ELSEWHERE = ("over_refusal_rate", "held_out_loss", "rouge_l", "train_seconds")
# Of the keys that tell two models apart, those that cannot change the metric.
INDIFFERENT = {
    "held_out_loss": ("policy", "engine", "temperature"),
    "train_seconds": ("policy", "engine", "temperature", "epoch"),
}
TOLD_APART_BY = ("recipe", "model", "data", "policy", "engine", "temperature", "epoch")
CONTEXT = ("model", "data", "engine", "suite", "judge", "temperature", "policy")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: the row of its fulfilment rate at its last epoch, and its name."""

    row: Row
    name: str


@dataclass(frozen=True, slots=True)
class Column:
    """A metric that was measured on a suite of its own, by a judge of its own."""

    metric: str
    suite: str
    judge: str


@dataclass(frozen=True)
class View:
    """A document with the look-ups that every table and figure shares."""

    document: Document

    @cached_property
    def estimates(self) -> dict[Row, Estimate]:
        """The estimate of each row."""
        return {entry.row: entry.value for entry in self.document.estimates}

    @cached_property
    def differences(self) -> dict[tuple[Row, str], ComparisonRow]:
        """The comparison of each row with each reference."""
        return {(entry.row, entry.reference): entry for entry in self.document.comparisons}

    @cached_property
    def reference(self) -> str:
        """The recipe that most fulfilment rates are compared with; empty without comparisons."""
        counts = Counter(
            entry.reference for entry in self.document.comparisons if entry.row.metric == FULFILMENT
        )
        return counts.most_common(1)[0][0] if counts else ""

    @cached_property
    def epochs(self) -> tuple[Line, ...]:
        """Every measured recipe, policy and epoch, in the document's order of recipes."""
        rows = [entry.row for entry in self.document.estimates if entry.row.group == OVERALL]
        recipes = list(dict.fromkeys(row.recipe for row in rows))
        found = [_anchors([row for row in rows if row.recipe == recipe]) for recipe in recipes]
        return self._named([row for recipe in found for row in recipe])

    @cached_property
    def last(self) -> tuple[Line, ...]:
        """Each recipe and policy at its last epoch."""
        final = {replace(line.row, epoch=0): line for line in self.epochs}
        return tuple(line for line in self.epochs if final[replace(line.row, epoch=0)] is line)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The headline: without a guardrail, unless a recipe was only measured with one."""
        bare = {line.row.recipe for line in self.last if unguarded(line.row)}
        return tuple(x for x in self.last if unguarded(x.row) or x.row.recipe not in bare)

    @cached_property
    def measured(self) -> dict[Column, list[tuple[Row, Estimate]]]:
        """What each suite of its own measured over all its prompts, in the order of `ELSEWHERE`."""
        found: dict[Column, list[tuple[Row, Estimate]]] = {}
        for row, value in self.estimates.items():
            if row.metric in ELSEWHERE and row.group == OVERALL:
                column = Column(row.metric, row.suite, row.judge)
                found.setdefault(column, []).append((row, value))
        return dict(sorted(found.items(), key=lambda item: ELSEWHERE.index(item[0].metric)))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The metrics with suites of their own."""
        return tuple(self.measured)

    def value(self, row: Row, metric: str) -> Estimate | None:
        """Another metric of the same answers and judge."""
        return self.estimates.get(replace(row, metric=metric))

    def elsewhere(self, row: Row, column: Column) -> tuple[Row, Estimate] | None:
        """The same model on another suite; keys that cannot change the metric may differ."""
        free = INDIFFERENT.get(column.metric, ())
        fixed = [name for name in TOLD_APART_BY if name not in free]
        found = [
            (other, value)
            for other, value in self.measured[column]
            if all(_key(other, name) == _key(row, name) for name in fixed)
        ]
        return max(found, key=lambda pair: _closeness(pair[0], row, free), default=None)

    def difference(self, row: Row, reference: str) -> ComparisonRow | None:
        """How this row compares with the reference."""
        return self.differences.get((row, reference))

    def runs(self, row: Row, metric: str) -> list[float]:
        """The training runs behind one line; guarded lines have none."""
        if not unguarded(row):
            return []
        return [run.value for run in self.document.runs if _behind(run, row, metric)]

    def _named(self, rows: Iterable[Row]) -> tuple[Line, ...]:
        rows = tuple(rows)
        return tuple(Line(row, self._name(row, rows)) for row in rows)

    def _name(self, row: Row, rows: tuple[Row, ...]) -> str:
        """The recipe, its label, and what tells it from its siblings."""
        siblings = [other for other in rows if other.recipe == row.recipe]
        parts = [self.document.name(row.recipe)]
        for key in CONTEXT:
            # The unguarded model is the rule: a policy is only named where there is one.
            named = not unguarded(row) if key == "policy" else _differ(siblings, key)
            if named:
                parts.append(f"{key} {_said(getattr(row, key))}")
        return ", ".join(parts)


def unguarded(row: Row) -> bool:
    """Whether no guardrail stood before the model."""
    return row.policy in UNGUARDED


def _key(row: Row, name: str) -> object:
    """One key of a row; the ways to say "no guardrail" are one."""
    return "" if name == "policy" and unguarded(row) else getattr(row, name)


def _anchors(rows: list[Row]) -> list[Row]:
    """The rows of one recipe that its lines stand for, by epoch.

    A recipe that was never asked anything harmful still has lines, with n/a for its fulfilment.
    """
    asked = [row for row in rows if row.metric == FULFILMENT]
    if not asked:
        metric = min((row.metric for row in rows), key=_priority)
        held = [row for row in rows if row.metric == metric]
        asked = [replace(row, metric=FULFILMENT, suite="", judge="") for row in held]
    return sorted(dict.fromkeys(asked), key=lambda row: row.epoch)


def _priority(metric: str) -> int:
    return ("over_refusal_rate", "rouge_l", *ELSEWHERE, metric).index(metric)


def _said(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else value or "none"


def _differ(rows: Iterable[Row], key: str) -> bool:
    return len({getattr(row, key) for row in rows}) > 1


def _closeness(found: Row, wanted: Row, free: tuple[str, ...]) -> tuple[int, int]:
    """More keys in common first, then the later epoch."""
    return sum(getattr(found, key) == getattr(wanted, key) for key in free), found.epoch


def _behind(run: Run, row: Row, metric: str) -> bool:
    exact = (run.recipe, run.epoch, run.metric) == (row.recipe, row.epoch, metric)
    said = ((run.model, row.model), (run.data, row.data), (run.suite, row.suite))
    fits = all(mine in ("", theirs) for mine, theirs in said)
    return exact and fits and run.temperature == row.temperature
