"""What a report is made of: estimates, comparisons, variance, runs, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from safeft.records import ComparisonRow, EstimateRow, Row, VarianceRow
from safeft.report.cells import heading

if TYPE_CHECKING:
    from safeft.report.section import Section

REFUSAL = "refusal"
FULFILMENT = "fulfilment"
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Run:
    """One training run's point, drawn as a dot behind its recipe's interval.

    Runs are those without a guardrail. An empty `model`, `data`, `suite` or `judge` fits every
    line of the recipe.
    """

    recipe: str
    seed: int
    epoch: int
    metric: str
    value: float
    temperature: float
    model: str = ""
    data: str = ""
    suite: str = ""
    judge: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that a report says. It holds no prompt's and no response's text.

    `labels` says something about a recipe that is printed beside its name wherever it appears,
    e.g. "did not learn". `level` is that of every interval; `judges` says what each judge's
    positive verdict means (fulfilment, unless it is named here). `provenance["command"]` is the
    exact command that made the report. `tables` stand before all others, and not in
    `estimates.json`.
    """

    title: str
    estimates: tuple[EstimateRow, ...] = ()
    comparisons: tuple[ComparisonRow, ...] = ()
    variance: tuple[VarianceRow, ...] = ()
    runs: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    level: float = LEVEL
    judges: dict[str, str] = field(default_factory=dict)
    tables: tuple[Section, ...] = ()

    @property
    def percent(self) -> str:
        """The level as it is printed."""
        return f"{100 * self.level:g}%"

    def refusal_only(self, judge: str) -> bool:
        """Whether the judge sees refusals alone: what it does not see refused may be broken."""
        return self.judges.get(judge) == REFUSAL

    def heading(self, metric: str, judge: str = "") -> str:
        """The metric as a column is headed; nobody saw fulfilment who looked for refusals."""
        return heading(metric).replace("fulfilment", self._positive(judge))

    def _positive(self, judge: str) -> str:
        """What a positive verdict of this judge is called."""
        measured = self.judges.get(judge, FULFILMENT)
        return "not refused" if measured == REFUSAL else measured

    def judged(self, refusal_only: bool) -> Document:
        """The part that judges of one kind measured, and what nobody judged."""
        return replace(
            self,
            estimates=tuple(e for e in self.estimates if self._fits(e.row, refusal_only)),
            comparisons=tuple(c for c in self.comparisons if self._fits(c.row, refusal_only)),
            runs=tuple(run for run in self.runs if self._fits(run, refusal_only)),
        )

    def _fits(self, found: Row | Run, refusal_only: bool) -> bool:
        return not found.judge or self.refusal_only(found.judge) == refusal_only

    def name(self, recipe: str) -> str:
        """The recipe as it is printed: with its label."""
        label = self.labels.get(recipe)
        return f"{recipe} ({label})" if label else recipe
