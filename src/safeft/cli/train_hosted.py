"""`safeft train --provider`: what only fine-tuning at a provider needs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from safeft.training import Recipe
    from safeft.training.hosted import Provider, Tuned


def check(hosted: dict[str, Any], cancel: bool) -> None:
    """Raises UsageError for options that mean nothing without `--provider`."""
    keys = [key for key in ("engine", "endpoint_set", "job_set") if hosted[key]]
    given = [f"--{key.replace('_', '-')}" for key in [*keys, *["cancel"] * cancel]]
    if given and not hosted["provider"]:
        raise click.UsageError(f"{given[0]}: is of a provider's job; add --provider openai")


def tune(
    recipe: Recipe, job: dict[str, Any], *, job_set: tuple[str, ...], every: float, **where: Any
) -> None:
    """Fine-tune at the provider, and say how to evaluate what came of it."""
    from safeft.cli.eval import overridden
    from safeft.training import hosted

    asked = overridden("--job-set", hosted.Job, job_set)
    provider = _provider(**where)
    click.echo(
        "of the recipe, the methods and num_train_epochs apply; batch size and learning rate are "
        "the provider's (--job-set hyperparameters.batch_size=…)"
    )
    tuned = hosted.tune(recipe, provider, job=asked, every=every, tell=click.echo, **job)
    _tell(tuned, provider.url, job["output"])


def cancel(output: Path, *, job_set: tuple[str, ...], every: float, **where: Any) -> None:
    """Cancel the job of a run."""
    from safeft.training import hosted

    click.echo(hosted.cancel(_provider(**where), output))


def _provider(provider: str, engine: str | None, endpoint_set: tuple[str, ...]) -> Provider:
    from safeft.cli.eval import endpoint
    from safeft.generation.schema import is_url
    from safeft.training import hosted

    url = engine or hosted.URLS[provider]
    if not is_url(url):
        raise click.UsageError(
            f"--engine {url!r}: a provider listens at a URL, such as {hosted.URLS[provider]}"
        )
    return hosted.Provider(url, endpoint(endpoint_set))


def _tell(tuned: Tuned, url: str, output: Path) -> None:
    """What it is called, what was counted, and the next command."""
    for method, notes in tuned.facts["methods"].items():
        click.echo(f"{method}: {', '.join(f'{key} {value}' for key, value in notes.items())}")
    click.echo(f"trained tokens: {tuned.facts['hosted']['trained_tokens']}")
    if tuned.checkpoints:
        click.echo(f"checkpoints: {', '.join(tuned.checkpoints)}")
    click.echo(f"fine-tuned model: {tuned.model}")
    words = ["safeft", "eval", tuned.model, "--engine", url, "--output", f"{output}-eval"]
    click.echo(f"next: {shlex.join(words)}")
