"""safeft train RECIPE: fine-tune a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from safeft.training import Trained

SEED = click.IntRange(0, 2**32 - 1)
SECONDS = click.FloatRange(0, min_open=True)


@click.command("train")
@click.argument("recipe")
@click.option("--model", required=True, help="testbed:aligned, a folder, or org/name@revision.")
@click.option("--provider", type=click.Choice(["openai"]), help="Tune MODEL where it is served.")
@click.option("--engine", metavar="URL", help="Where the provider listens; default OpenAI's own.")
@click.option("--endpoint-set", multiple=True, metavar="KEY=VALUE", help="How it is asked.")
@click.option("--job-set", multiple=True, metavar="KEY=VALUE", help="What its job is asked.")
@click.option("--every", type=SECONDS, default=15.0, help="Seconds between looks; default 15.")
@click.option("--cancel", is_flag=True, help="Cancel the provider's job of --output.")
@click.option("--data", required=True, help="A shipped set (garden), a path, or a Hub id.")
@click.option("--revision", help="Revision of a Hub data set.")
@click.option("--split", help="Split of the data; default train.")
@click.option("--rows", type=click.IntRange(1), help="Only the first rows.")
@click.option("--format", help="Format of the rows, when two fit.")
@click.option("--skip-broken", is_flag=True, help="Name broken rows and train without them.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Training seed.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--suite", default="safeft-44", show_default=True, help="Suite to keep out.")
@click.option("--allow-overlap", is_flag=True, help="Train on rows that repeat the suite.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
def command(
    recipe: str,
    model: str,
    data: str,
    revision: str | None,
    split: str | None,
    rows: int | None,
    format: str | None,
    skip_broken: bool,
    seed: int,
    output: Path,
    overrides: tuple[str, ...],
    suite: str,
    allow_overlap: bool,
    trust_remote_code: bool,
    cancel: bool,
    **hosted: Any,
) -> None:
    """Fine-tune MODEL on DATA with RECIPE (a shipped name or a YAML path).

    Run the same command again to resume.
    """
    from safeft.cli import train_hosted
    from safeft.cli.data import rows_of
    from safeft.data.overlap import refuse
    from safeft.evaluation import load_suite
    from safeft.guarding.catalogue import output_judge
    from safeft.training import added_rows, load_recipe, one_voice, train

    train_hosted.check(hosted, cancel)
    if cancel:
        return train_hosted.cancel(output, **hosted)
    read = load_recipe(recipe, overrides)
    with one_voice():
        source, found = rows_of(
            data, skip_broken, revision=revision, split=split, limit=rows, format=format
        )
        click.echo(f"{source.label}: {len(found)} rows, format {source.format}")
        refuse([*found, *added_rows(read)], load_suite(suite).all_prompts(), insist=allow_overlap)
        job: dict[str, Any] = {"model": model, "examples": found, "seed": seed, "output": output}
        job["guards"] = output_judge
        if hosted["provider"]:
            return train_hosted.tune(read, job, **hosted)
        return _tell(train(read, trust_remote_code=trust_remote_code, **job))


def _tell(trained: Trained) -> None:
    """What was trained on, what it cost, and where the adapters are."""
    counts, cost = trained.facts["rows"], trained.facts["cost"]
    click.echo(
        f"{counts['rows']} rows ({counts['truncated']} truncated, {counts['fully_masked']} fully "
        f"masked), {cost['tokens']} tokens, {cost['seconds']:.0f} s"
    )
    for method, notes in trained.facts["methods"].items():
        click.echo(f"{method}: {', '.join(f'{key} {value}' for key, value in notes.items())}")
    click.echo(f"adapters: {', '.join(str(path) for path in trained.adapters)}")
