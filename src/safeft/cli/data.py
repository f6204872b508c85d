"""`safeft data`: look at data before it is trained on."""

from __future__ import annotations

import click


@click.group("data")
def command() -> None:
    """Look at training data as the model will see it."""


@command.command("preview")
@click.argument("source", metavar="DATA")
@click.option("--model", help="Model folder or hub id whose tokenizer and chat template to use.")
@click.option("--rows", default=3, show_default=True, type=click.IntRange(1), help="Rows to show.")
@click.option(
    "--max-length",
    default=1024,
    show_default=True,
    type=click.IntRange(1),
    help="Tokens a row is cut at.",
)
@click.option("--revision", help="Commit, tag or branch of a hub set.")
@click.option("--split", help="Split of a folder or hub set, or config/split.")
@click.option("--format", help="Format of the rows, when two fit.")
@click.option("--skip-broken", is_flag=True, help="Name broken rows and go on without them.")
def preview(
    source: str,
    model: str | None,
    rows: int,
    max_length: int,
    revision: str | None,
    split: str | None,
    format: str | None,
    skip_broken: bool,
) -> None:
    """Show rows of DATA with the trained text marked, and count what is cut or masked.

    DATA is a JSONL, JSON, CSV or Parquet file, a folder of them, or org/name@revision:split.
    """
    from rich.console import Console

    from safeft.data import examples, load, sift
    from safeft.data.formats import listed
    from safeft.data.preview import show

    loaded = load(source, revision=revision, split=split, format=format)
    items, broken = sift(loaded) if skip_broken else (examples(loaded), ())
    if broken:
        click.echo(f"{len(broken)} broken rows left out:\n{listed(broken)}", err=True)
    tokenizer = None
    if model:
        from safeft.models import load_tokenizer

        tokenizer = load_tokenizer(model)
    show(loaded, items, Console(), tokenizer=tokenizer, rows=rows, max_length=max_length)
