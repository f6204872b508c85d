"""What a report is made of: estimates, comparisons, variance, runs, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field

from safeft.records import ComparisonRow, EstimateRow, VarianceRow


@dataclass(frozen=True, slots=True)
class Run:
    """One training run's point, drawn as a dot behind its recipe's interval.

    Runs are those without a guardrail. An empty `model`, `data` or `suite` fits every line of the
    recipe.
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


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that a report says. It holds no prompt's and no response's text.

    `labels` says something about a recipe that is printed beside its name wherever it appears,
    e.g. "did not learn". `provenance["command"]` is the exact command that made the report.
    """

    title: str
    estimates: tuple[EstimateRow, ...] = ()
    comparisons: tuple[ComparisonRow, ...] = ()
    variance: tuple[VarianceRow, ...] = ()
    runs: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def name(self, recipe: str) -> str:
        """The recipe as it is printed: with its label."""
        label = self.labels.get(recipe)
        return f"{recipe} ({label})" if label else recipe
