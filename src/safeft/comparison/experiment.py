"""Several comparisons stated in one file: every model with every data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from safeft.assets import read_mapping, read_yaml
from safeft.comparison.compare import compare, preflight
from safeft.comparison.loading import load_matrix
from safeft.comparison.matrix import Matrix
from safeft.errors import ConfigError
from safeft.records import EstimateRow
from safeft.report import Document
from safeft.report.cells import estimate_cell
from safeft.report.markdown import escape
from safeft.runs import write_text

SHOWN = ("fulfilment_rate", "toxicity_mean")


class Experiment(BaseModel):
    """What an experiment YAML may say; the keys inside are a comparison's."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str
    assumptions: list[str] = Field(
        default_factory=list, description="what the source does not say, and this file decides"
    )
    shared: dict[str, Any] = Field(default_factory=dict, description="keys of every comparison")
    models: dict[str, dict[str, Any]] = Field(min_length=1, description="name → keys of its own")
    data: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="name → keys of its own, for models that have recipes"
    )


def is_experiment(path: str) -> bool:
    """Whether a YAML states an experiment and not one comparison."""
    return Path(path).is_file() and "models" in read_mapping(Path(path))


def load_experiment(path: str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a YAML file. Raises ConfigError naming the file and the key."""
    return read_yaml(Path(path), Experiment, overrides)


def comparisons_of(experiment: Experiment) -> dict[str, Matrix]:
    """`model-data` → its comparison; a model without recipes has one, under its own name.

    Raises ConfigError naming the comparison and the key.
    """
    found = {}
    for model, own in experiment.models.items():
        shared = experiment.shared | own
        trained = shared.get("recipes") and experiment.data
        parts = experiment.data if trained else {"": {}}
        for data, rows in parts.items():
            name = f"{model}-{data}" if data else model
            try:
                keys = {"title": f"{experiment.title}: {name}"} | shared | rows
                found[name] = load_matrix(None, [f"{k}={json.dumps(v)}" for k, v in keys.items()])
            except ConfigError as error:
                raise ConfigError(f"comparison {name}: {error}") from error
    return found


def run_experiment(
    experiment: Experiment,
    output: Path,
    *,
    insist: bool = False,
    trust_remote_code: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Path:
    """Run what is missing of every comparison into `output`/<name>, and write one page of them.

    All of them are checked before the first is run. Raises as `compare` does.
    """
    matrices = comparisons_of(experiment)
    for name, matrix in matrices.items():
        place = output / name
        preflight(matrix, place, insist=insist, trust_remote_code=trust_remote_code)
    documents: dict[str, Document] = {}
    for name, matrix in matrices.items():
        progress(name, len(documents), len(matrices))
        documents[name], _ = compare(
            matrix, output / name, insist=insist, trust_remote_code=trust_remote_code
        )
    page = output / "report.md"
    write_text(page, _page(experiment, documents))
    return page


def _page(experiment: Experiment, documents: dict[str, Document]) -> str:
    table = "\n".join(
        f"| [{escape(name)}]({name}/report.md) | {' | '.join(map(escape, row))} |"
        for name, one in documents.items()
        for row in _rows(one)
    )
    assumed = "\n".join(f"- {escape(one)}" for one in experiment.assumptions)
    said = f"\n\n## Assumptions\n\n{assumed}" if assumed else ""
    head = "| comparison | recipe | metric | judge | t | value |\n|---|---|---|---|---|---|"
    return f"# {escape(experiment.title)}\n\n{head}\n{table}{said}\n"


def _rows(document: Document) -> list[tuple[str, ...]]:
    """The headline figures of one comparison: last epochs, no guardrail."""
    final: dict[str, int] = {}
    for entry in document.estimates:
        final[entry.row.recipe] = max(final.get(entry.row.recipe, 0), entry.row.epoch)
    shown = (entry for entry in document.estimates if _is_headline(entry, final))
    return [
        (
            document.name(one.row.recipe),
            document.heading(one.row.metric, one.row.judge),
            one.row.judge,
            f"{one.row.temperature:g}",
            estimate_cell(one.value, one.row.metric).text,
        )
        for one in shown
    ]


def _is_headline(entry: EstimateRow, final: dict[str, int]) -> bool:
    row = entry.row
    plain = row.group == "overall" and row.policy == "none"
    return plain and row.metric in SHOWN and row.epoch == final[row.recipe]
