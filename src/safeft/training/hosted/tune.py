"""Recipe → a fine-tuned model at a provider: rows, upload, job, and the names to ask it by."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safeft.data import Example
from safeft.data.chats import written
from safeft.data.formats import fingerprint as data_fingerprint
from safeft.errors import RunError, StoredError
from safeft.generation.counting import estimated_tokens
from safeft.runs import disk_watched, locked, open_run, read_json, write_json, write_text
from safeft.training.building import build, refuse_weights
from safeft.training.hosted.following import ENDED, Tell, check, finite, follow
from safeft.training.hosted.ledger import NAME, Ledger
from safeft.training.hosted.provider import Provider
from safeft.training.hosted.schema import OPENAI, Job
from safeft.training.methods import Guards
from safeft.training.schema import Recipe
from safeft.training.writers import endpoint_writer

ROWS, BUILD = "training.jsonl", "build.json"


@dataclass(frozen=True, slots=True)
class Tuned:
    """A fine-tuned model by its name, its checkpoints' names in order, and the run's facts."""

    model: str
    checkpoints: tuple[str, ...]
    facts: dict[str, Any]


def tune(
    recipe: Recipe,
    provider: Provider,
    *,
    model: str,
    examples: Sequence[Example],
    seed: int,
    output: Path,
    job: Job | None = None,
    every: float = 15.0,
    tell: Tell = lambda _: None,
    guards: Guards | None = None,
) -> Tuned:
    """Fine-tune `model` where it is served, on the recipe's rows, and follow the job to its end.

    A finished output is returned as it is; an interrupted one goes on, with the same upload and
    the same job. `tell` gets what a user wants to read meanwhile; `every` is in seconds. Raises
    ConfigError for a recipe that data alone cannot carry, DataError for rows that cannot be used,
    ModelError for what the provider refuses, RunError when `output` holds another run or the job
    was cancelled, SafeftError when the job or the provider failed.
    """
    job = job or Job()
    identity = _identity(recipe, provider, job, model, examples, seed)
    refuse_weights(recipe)
    if (output / "cost.json").is_file():
        open_run(output, identity)
        return tuned(output)
    with locked(output), disk_watched(output):
        open_run(output, identity)
        built = _build(recipe, provider, model, examples, output, tell, guards)
        ledger = Ledger(output)
        epochs = job.tuned_by(recipe)["n_epochs"]
        file = _uploaded(provider, ledger, output, built, job, epochs, tell)
        started = _started(provider, ledger, file, _request(recipe, job, model, seed), tell)
        ended = follow(provider, started, output / "events.jsonl", every, tell)
        check(ended)
        _finish(provider, ended, identity | built, output)
        return tuned(output)


def tuned(output: Path) -> Tuned:
    """What a finished run left."""
    facts = read_json(output / "train.json") | {"cost": read_json(output / "cost.json")}
    names = tuple(one["name"] for one in facts["checkpoints"])
    return Tuned(facts["fine_tuned_model"], names, facts)


def cancel(provider: Provider, output: Path) -> str:
    """Cancel the job of a run, and say what became of it; another process may follow it still.

    Raises RunError when the run has started none.
    """
    if not (output / NAME).is_file():
        raise RunError(f"{output} has started no job; give the --output of the run to cancel")
    ledger = Ledger(output)
    started = ledger.made.get("job") or provider.started(ledger)
    if not started:
        return f"{output} has started no job; nothing is to be cancelled"
    status = provider.job(started).status
    if status in ENDED:
        return f"job {started} had ended: {status}"
    return f"job {started}: {provider.cancel(started).status}"


def _identity(
    recipe: Recipe,
    provider: Provider,
    job: Job,
    model: str,
    examples: Sequence[Example],
    seed: int,
) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "provider": OPENAI,
        "url": provider.url,
        "job": job.model_dump(mode="json", exclude={"price"}),
        "model": model,
        "data_fingerprint": data_fingerprint(examples),
        "seed": seed,
    }


def _build(
    recipe: Recipe,
    provider: Provider,
    model: str,
    examples: Sequence[Example],
    output: Path,
    tell: Tell,
    guards: Guards | None,
) -> dict[str, Any]:
    """Write the training file, and what there is to know of it last."""
    facts = output / BUILD
    if not facts.is_file():
        writer = endpoint_writer(model, provider.url, provider.settings, tell)
        built = build(recipe, examples, writer, output, guards)
        text = written(built.examples, OPENAI)
        write_text(output / ROWS, text)
        tokens = sum(estimated_tokens(one.messages) for one in built.examples)
        found = {
            "methods": built.notes,
            "rows": {"rows": len(built.examples), "estimated_tokens": tokens},
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "generation": built.spent,
        }
        write_json(facts, found)
    return dict(read_json(facts))


def _uploaded(
    provider: Provider,
    ledger: Ledger,
    output: Path,
    built: dict[str, Any],
    job: Job,
    epochs: Any,
    tell: Tell,
) -> str:
    """The id of the training file; what is sent where, and what it may cost, is told once."""
    content = b""
    if "file" not in ledger.made:
        content = (output / ROWS).read_bytes()
        if hashlib.sha256(content).hexdigest() != built["sha256"]:
            raise StoredError(
                f"{output / ROWS} was changed since it was written; delete {output / BUILD} to "
                "have it made again"
            )
        if "file" not in ledger.asked:
            tell(_bill(built["rows"], job, epochs))
            tell(
                f"{ROWS} is sent to {provider.url} and stays there until you delete it there, as "
                "the models that are tuned on it do"
            )
    return provider.upload(ledger, content)


def _bill(rows: dict[str, int], job: Job, epochs: Any) -> str:
    """What the provider will count, by an estimate: whole rows, in each epoch."""
    tokens = rows["estimated_tokens"]
    said = f"{rows['rows']} rows, about {tokens:,} tokens (estimated: four characters each)"
    if not isinstance(epochs, int):
        return f"{said} in each epoch; how many epochs is the provider's choice"
    cost = job.cost(tokens * epochs)
    dollars = "" if math.isnan(cost) else f", about ${cost:,.2f}"
    return f"{said} × {epochs} epochs = {tokens * epochs:,} trained tokens{dollars}"


def _started(
    provider: Provider, ledger: Ledger, file: str, request: dict[str, Any], tell: Tell
) -> str:
    started = provider.start(ledger, file, request)
    tell(
        f"file {file}, job {started}: the same command follows it again after an interruption, and "
        "cancels it with --cancel"
    )
    return started


def _request(recipe: Recipe, job: Job, model: str, seed: int) -> dict[str, Any]:
    """The job's request but for the file; the user's own arguments go through as they are."""
    supervised = {"hyperparameters": job.tuned_by(recipe)}
    method = {"type": "supervised", "supervised": supervised}
    suffix = {"suffix": job.suffix} if job.suffix else {}
    return {"model": model, "seed": seed, "method": method, "extra_body": job.arguments} | suffix


def _finish(provider: Provider, job: Any, facts: dict[str, Any], output: Path) -> None:
    """The names and what the provider counted. The cost comes last: it says that all is there."""
    checkpoints = [_checkpoint(one) for one in provider.checkpoints(job.id)]
    generation = facts.pop("generation")
    ids = {"id": job.id, "file": job.training_file, "seed": job.seed}
    used = {"hyperparameters": _plain(job.hyperparameters), "trained_tokens": job.trained_tokens}
    named = {"fine_tuned_model": job.fine_tuned_model, "checkpoints": checkpoints}
    write_json(output / "train.json", facts | {"hosted": ids | used} | named)
    seconds = (job.finished_at or job.created_at) - job.created_at
    write_json(
        output / "cost.json",
        {"seconds": seconds, "tokens": job.trained_tokens or 0} | generation,
    )


def _checkpoint(one: Any) -> dict[str, Any]:
    return {
        "name": one.fine_tuned_model_checkpoint,
        "step": one.step_number,
        "metrics": _plain(one.metrics),
    }


def _plain(value: Any) -> Any:
    """A part of the client's answer as JSON holds it; a server may leave it out."""
    return finite(value.model_dump(exclude_none=True)) if value is not None else None
