"""`safeft data build`: a recipe's rows as a file, for whoever trains elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from safeft.training import Recipe
    from safeft.training.writers import Writer


@click.command("build")
@click.argument("recipe")
@click.option("--data", required=True, help="A shipped set (garden), a path, or a Hub id.")
@click.option("--model", help="What is tuned: who writes self-generated answers.")
@click.option("--engine", metavar="URL", help="The endpoint where MODEL answers; default: here.")
@click.option("--endpoint-set", multiple=True, metavar="KEY=VALUE", help="How a URL is asked.")
@click.option(
    "--format",
    type=click.Choice(["openai", "chat"]),
    default="openai",
    show_default=True,
    help="Of the file.",
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new .jsonl.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--revision", help="Revision of a Hub data set.")
@click.option("--split", help="Split of the data; default train.")
@click.option("--rows", type=click.IntRange(1), help="Only the first rows.")
@click.option("--data-format", help="Format of the data's rows, when two fit.")
@click.option("--skip-broken", is_flag=True, help="Name broken rows and go on without them.")
@click.option("--suite", default="safeft-44", show_default=True, help="Suite to keep out.")
@click.option("--allow-overlap", is_flag=True, help="Keep rows that repeat the suite.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
def build(
    recipe: str,
    data: str,
    model: str | None,
    format: str,
    output: Path,
    overrides: tuple[str, ...],
    rows: int | None,
    data_format: str | None,
    skip_broken: bool,
    suite: str,
    allow_overlap: bool,
    revision: str | None,
    split: str | None,
    **asked: Any,
) -> None:
    """Write the rows that RECIPE's data methods make of DATA. Run it again to resume."""
    from safeft.cli.data import rows_of
    from safeft.data.overlap import refuse
    from safeft.evaluation import load_suite
    from safeft.guarding.catalogue import output_judge
    from safeft.training import added_rows, load_recipe
    from safeft.training.building import build_file

    if output.suffix != ".jsonl":
        raise click.BadParameter(f"{output}: must end in .jsonl", param_hint="--output")
    read = load_recipe(recipe, overrides)
    source, found = rows_of(
        data, skip_broken, revision=revision, split=split, limit=rows, format=data_format
    )
    click.echo(f"{source.label}: {len(found)} rows, format {source.format}")
    refuse([*found, *added_rows(read)], load_suite(suite).all_prompts(), insist=allow_overlap)
    facts = build_file(read, found, _writer(read, model, **asked), format, output, output_judge)
    for method, notes in facts["methods"].items():
        click.echo(f"{method}: {', '.join(f'{key} {value}' for key, value in notes.items())}")
    click.echo(f"{output}: {facts['rows']} rows")


def _writer(
    recipe: Recipe,
    model: str | None,
    engine: str | None,
    endpoint_set: tuple[str, ...],
    trust_remote_code: bool,
) -> Writer:
    from safeft.cli.eval import endpoint
    from safeft.generation.schema import is_url
    from safeft.training.writers import endpoint_writer, local_writer, no_writer

    if model and engine and is_url(engine):
        return endpoint_writer(model, engine, endpoint(endpoint_set), click.echo)
    if engine or endpoint_set:
        raise click.UsageError(
            "--engine: must be the URL of an endpoint that serves --model; leave it out to load "
            "the model here"
        )
    if not model:
        return no_writer()
    return local_writer(recipe, model, trust_remote_code=trust_remote_code)
