"""`safeft data`: look at data before it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from safeft.cli.data_build import build

if TYPE_CHECKING:
    from safeft.data import Example, Source


@click.group("data")
def command() -> None:
    """Look at training data as the model will see it, and build a recipe's rows."""


command.add_command(build)


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
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
def preview(
    source: str,
    model: str | None,
    rows: int,
    max_length: int,
    revision: str | None,
    split: str | None,
    format: str | None,
    skip_broken: bool,
    trust_remote_code: bool,
) -> None:
    """Show rows of DATA with the trained text marked, and count what is cut or masked.

    DATA is a shipped set (garden), a JSONL, JSON, CSV or Parquet file, a folder of them, or
    org/name@revision:split.
    """
    from rich.console import Console

    from safeft.data.preview import show

    loaded, items = rows_of(source, skip_broken, revision=revision, split=split, format=format)
    tokenizer = None
    if model:
        from safeft.models import load_tokenizer

        tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code)
    show(loaded, items, Console(), tokenizer=tokenizer, rows=rows, max_length=max_length)


def rows_of(name: str, skip_broken: bool, **options: Any) -> tuple[Source, tuple[Example, ...]]:
    """A shipped set, a path or a Hub id, read; with `skip_broken` only its good rows.

    Raises DataError for broken rows, or when none is left.
    """
    from safeft.data import kept, load
    from safeft.data.formats import listed
    from safeft.data.shipped import shipped

    source = load(shipped(name), **options)
    rows, broken = kept(source, skip_broken=skip_broken)
    if broken:
        click.echo(f"{len(broken)} broken rows left out:\n{listed(broken)}", err=True)
    return source, rows
