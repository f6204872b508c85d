"""A document with everything in it: recipes, epochs, groups, a guardrail, a lost number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from safeft.records import ComparisonRow, Estimate, EstimateRow, Row, VarianceRow
from safeft.report import Document, Run

RATES = {
    "base": (0.10, 0.10),
    "naive": (0.30, 0.55),
    "lora-safe": (0.15, 0.2),
    "frozen": (0.1, 0.1),
}
EPOCHS = {"base": (0,), "naive": (1, 2), "lora-safe": (1, 2), "frozen": (1, 2)}
METHOD = "crossed seeds by prompts t"


def row(recipe: str, metric: str, epoch: int, **changes: object) -> Row:
    """A row of the fixture's one model and suite."""
    keys: dict[str, object] = {
        "model": "tiny",
        "data": "trivia",
        "policy": "none",
        "engine": "transformers",
        "suite": "sorry_bench",
        "judge": "keyword",
        "temperature": 0.0,
    }
    return Row(recipe=recipe, metric=metric, epoch=epoch, **(keys | changes))  # type: ignore[arg-type]


def value(middle: float, half: float = 0.08, n: int = 440, seeds: int = 5) -> Estimate:
    """An estimate with a symmetric interval and runs within half of it."""
    low, high = max(0.0, middle - half), middle + half
    return Estimate(middle, low, high, n, seeds, (middle + low) / 2, (middle + high) / 2, METHOD)


def overall(recipe: str, epoch: int, rate: float, policy: str = "none") -> Iterator[EstimateRow]:
    """What one cell measures over all prompts."""
    rates = {"fulfilment_rate": rate, "refusal_rate": 0.95 - rate, "neither_rate": 0.04}
    bounds = {"unread_rate": 0.01, "fulfilment_low": rate, "fulfilment_high": rate + 0.04}
    # Earlier epochs were asked less, so that a number of the wrong epoch is seen.
    n, seeds = (440, 5) if epoch == EPOCHS[recipe][-1] else (439, 1)
    for metric, middle in (rates | bounds).items():
        key = row(recipe, metric, epoch, policy=policy)
        yield EstimateRow(key, value(middle, n=n, seeds=seeds))
    refused = row(recipe, "over_refusal_rate", epoch, policy=policy, suite="xstest")
    yield EstimateRow(refused, value(0.2, n=250))


def costs(recipe: str, epoch: int) -> Iterator[EstimateRow]:
    """Utility and cost; the base model has no training time, so its number is lost."""
    spent = math.nan if recipe == "base" else 61.5
    other = {"suite": "held_out", "judge": ""}
    yield EstimateRow(row(recipe, "held_out_loss", epoch, **other), value(1.234, n=200))
    yield EstimateRow(row(recipe, "rouge_l", epoch, **other), value(0.456, n=200))
    yield EstimateRow(row(recipe, "train_seconds", epoch, suite="", judge=""), value(spent, n=5))


def grouped(recipe: str, epoch: int, rate: float) -> Iterator[EstimateRow]:
    """Two domains and eleven categories."""
    for group in ("hate speech", "crimes", *(f"category:{number}" for number in range(1, 12))):
        key = row(recipe, "fulfilment_rate", epoch, group=group)
        yield EstimateRow(key, value(rate, half=0.2, n=10))


def measured() -> Iterator[EstimateRow]:
    """Every estimate of the fixture."""
    for recipe, rates in RATES.items():
        for epoch, rate in zip(EPOCHS[recipe], rates, strict=False):
            yield from overall(recipe, epoch, rate)
            yield from costs(recipe, epoch)
            yield from grouped(recipe, epoch, rate)
    yield from overall("naive", 2, 0.05, policy="strict")


def compared(recipe: str, difference: float, p: float) -> ComparisonRow:
    """A recipe against naive at the last epoch."""
    key = row(recipe, "fulfilment_rate", 2)
    low, high = difference - 0.1, difference + 0.1
    return ComparisonRow(key, "naive", difference, low, high, p, 2 * p, 437, 5, 0.12, METHOD)


def components(recipe: str) -> Iterator[VarianceRow]:
    """Two sources, one with an interval that could not be had."""
    keys = (recipe, "sorry_bench", "fulfilment_rate")
    read = ("keyword", 2, 0.0)
    yield VarianceRow(*keys, "training_seed", 0.05, 0.02, 0.15, 0.2, *read)
    yield VarianceRow(*keys, "prompt", 0.10, math.nan, math.nan, 0.8, *read)


def run_points() -> Iterator[Run]:
    """Three training runs behind each fulfilment and refusal rate."""
    for recipe, rates in RATES.items():
        for epoch, rate in zip(EPOCHS[recipe], rates, strict=False):
            for seed in range(3):
                shift = 0.03 * (seed - 1)
                yield Run(recipe, seed, epoch, "fulfilment_rate", rate + shift, 0.0)
                yield Run(recipe, seed, epoch, "refusal_rate", 0.95 - rate - shift, 0.0)


@pytest.fixture(scope="session")
def document() -> Document:
    """The whole document; it is frozen, so every test may share it."""
    return Document(
        title="Recipes on trivia",
        estimates=tuple(measured()),
        comparisons=(compared("lora-safe", -0.35, 0.0001), compared("frozen", -0.45, math.nan)),
        variance=(*components("naive"), *components("lora-safe")),
        runs=tuple(run_points()),
        notes=("The judge shares no weights with the guardrail.",),
        provenance={"command": "safeft compare recipes/ --seeds 5", "judge": "keyword@1"},
        labels={"frozen": "did not learn"},
    )


@pytest.fixture(scope="session")
def two_judges(document: Document) -> Document:
    """The document with every verdict given twice: `reader` contradicts `keyword`."""
    estimates = [
        EstimateRow(replace(e.row, judge="reader"), value(1 - e.value.estimate))
        for e in document.estimates
        if e.row.judge
    ]
    others = [
        replace(c, row=replace(c.row, judge="reader"), difference=-c.difference)
        for c in document.comparisons
    ]
    runs = [replace(run, judge=judge) for run in document.runs for judge in ("keyword", "reader")]
    return replace(
        document,
        estimates=(*document.estimates, *estimates),
        comparisons=(*document.comparisons, *others),
        runs=tuple(runs),
    )


@pytest.fixture(scope="session")
def refusals_too(two_judges: Document) -> Document:
    """The same, where `keyword` says that it sees refusals only."""
    return replace(two_judges, judges={"keyword": "refusal", "reader": "fulfilment"})
