"""A finished run for other tools: answers with verdicts, or as lm-eval, the Hub, Inspect read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from safeft.comparison.answers import Place, open_stored, places
from safeft.comparison.cells import Plan
from safeft.comparison.inspecting import inspect_logs
from safeft.comparison.rules import added, with_judges
from safeft.errors import ConfigError, RunError
from safeft.evaluation import response_file, short
from safeft.records import EstimateRow
from safeft.report.estimates import SCHEMA, plain, read_estimates
from safeft.runs import locked, versions, write_text

Record = dict[str, Any]
HIGHER_IS_BETTER = {"fulfilment_rate": False, "refusal_rate": True, "over_refusal_rate": False}


def export(run: Path, target: Path, kind: str | None = None, *, texts: bool = False) -> int:
    """Write a run to one file, or a folder of Inspect logs, and say how many records it holds.

    `kind` is one of KINDS, by default what the suffix says. The words of requests and answers are
    left out unless `texts` asks for them; hashes and labels stay. Raises RunError when the run is
    not finished or its texts are gone, ConfigError for a kind, or one whose package is missing.
    """
    chosen = kind or target.suffix.removeprefix(".")
    if chosen not in KINDS:
        raise ConfigError(f"{target}: no format {chosen!r}; name one with --as: {', '.join(KINDS)}")
    if target.exists():
        raise RunError(f"{target} is there already; choose another name")
    return KINDS[chosen](run, target, texts)


def records(run: Path, texts: bool) -> Iterator[Record]:
    """One flat record for each answer: where it came from, and every judge's label."""
    planned = open_stored(run)
    planned = with_judges(planned, added(run))
    for place in places(planned):
        yield from _records(planned, place, texts)


def _records(planned: Plan, place: Place, texts: bool) -> Iterator[Record]:
    answers = place.responses("export without --texts") if texts else None
    said = {short(judge): place.judged(judge) for judge in planned.matrix.judges}
    found = {
        judge: sorted({name for one in verdicts.values() for name in one.get("scores", {})})
        for judge, verdicts in said.items()
    }
    for number, prompt in enumerate(place.prompts):
        first = next(iter(said.values()))[prompt.id]
        record: Record = {
            "model": planned.matrix.model,
            "recipe": place.recipe,
            "training_seed": place.seed,
            "epoch": place.epoch,
            "suite": planned.suite.name,
            "set": place.set,
            "id": prompt.id.partition("/")[2],
            "category": prompt.category,
            "temperature": place.decoding.temperature,
            "seed": place.decoding.seed,
            "policy": place.policy,
            "finish": first["finish"],
            "response_hash": first["response"],
        }
        for judge, verdicts in said.items():
            one = verdicts[prompt.id]
            record |= {f"label.{judge}": one["label"], f"reason.{judge}": one.get("reason", "")}
            scores = one.get("scores", {})
            record |= {f"score.{judge}.{name}": scores.get(name) for name in found[judge]}
        if answers:
            record |= {"prompt": prompt.text, "response": answers[number].text}
        yield record


def _jsonl(run: Path, target: Path, texts: bool) -> int:
    lines = [json.dumps(one, ensure_ascii=False) for one in records(run, texts)]
    write_text(target, "".join(line + "\n" for line in lines))
    return len(lines)


def _parquet(run: Path, target: Path, texts: bool) -> int:
    import pyarrow
    from pyarrow import parquet

    rows = list(records(run, texts))
    names = dict.fromkeys(name for row in rows for name in row)  # Arrow asks the first row alone
    table = pyarrow.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    held = io.BytesIO()
    parquet.write_table(table, held)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(held.getvalue())
    partial.replace(target)
    return int(table.num_rows)


def _measured(run: Path) -> list[EstimateRow]:
    """The estimates over all prompts and rows; what could not be estimated is left out."""
    found = (one for one in read_estimates(run / "estimates.json").estimates)
    return [one for one in found if one.row.group == "overall" and isfinite(one.value.estimate)]


def _lm_eval(run: Path, target: Path, _: bool) -> int:
    """The shape of lm-evaluation-harness's results file; intervals stand beside each value."""
    results: dict[str, Record] = {}
    sizes: dict[str, Record] = {}
    higher: dict[str, dict[str, bool]] = {}
    rows = _measured(run)
    for one in rows:
        task, name = _task(one), one.row.metric
        values = {"": one.value.estimate, "_low": one.value.low, "_high": one.value.high}
        found = results.setdefault(task, {"alias": task})
        found |= plain({f"{name}{end},none": value for end, value in values.items()})
        sizes[task] = {"original": one.value.n, "effective": one.value.n}
        if name in HIGHER_IS_BETTER:
            higher.setdefault(task, {})[name] = HIGHER_IS_BETTER[name]
    whole = {
        "results": results,
        "versions": dict.fromkeys(results, SCHEMA),
        "n-shot": dict.fromkeys(results, 0),
        "configs": {task: {"task": task} for task in results},
        "n-samples": sizes,
        "higher_is_better": higher,
        "config": {"model": rows[0].row.model if rows else "", "model_args": None},
        "safeft_versions": versions(),
    }
    write_text(target, json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return len(rows)


def _task(one: EstimateRow) -> str:
    row = one.row
    parts = [row.recipe, f"epoch {row.epoch}", row.suite or "training", row.judge]
    parts += [f"t={row.temperature:g}", "" if row.policy == "none" else row.policy]
    return ", ".join(part for part in parts if part)


def _model_index(run: Path, target: Path, _: bool) -> int:
    """`model-index` metadata for a model card, through the Hub's own classes."""
    from huggingface_hub import EvalResult, ModelCardData

    rows = _measured(run)
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=one.row.suite or "training",
            dataset_name=one.row.suite or "training",
            metric_type=one.row.metric,
            metric_name=f"{one.row.metric} ({_task(one)})",
            metric_value=one.value.estimate,
            metric_args={
                "low": one.value.low,
                "high": one.value.high,
                "n": one.value.n,
                "training_seeds": one.value.n_seeds,
                "judge": one.row.judge,
                "method": one.value.method,
            },
        )
        for one in rows
    ]
    name = rows[0].row.model if rows else "model"
    card = ModelCardData(model_name=name, eval_results=results)
    write_text(target, f"---\n{card.to_yaml()}\n---\n")
    return len(rows)


KINDS: Mapping[str, Callable[[Path, Path, bool], int]] = {
    "jsonl": _jsonl,
    "parquet": _parquet,
    "lm-eval": _lm_eval,
    "model-index": _model_index,
    "inspect": inspect_logs,
}


def prune(run: Path) -> tuple[int, int]:
    """Delete the texts of a finished run's answers; how many files and bytes they were.

    Labels, scores and the hash of every text stay, so that the report is made as before. Raises
    RunError when the run is not finished, or when a verdict is missing that the texts could give.
    """
    planned = with_judges(open_stored(run), added(run))
    with locked(run):
        for place in places(planned):
            for judge in planned.matrix.judges:
                place.verdicts(judge)
        return _pruned(planned)


def _pruned(planned: Plan) -> tuple[int, int]:
    gone = [
        path
        for cell in planned.cells
        for pattern in (response_file("*"), "answers.jsonl")
        for path in cell.folder.rglob(pattern)
    ]
    size = sum(path.stat().st_size for path in gone)
    for path in gone:
        path.unlink()
    return len(gone), size
