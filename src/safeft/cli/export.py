"""safeft export ADAPTER: a folder that a server can load."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model that the adapter was trained on.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--merge/--copy", default=True, show_default=True, help="Merge into the weights.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), help="Of merged weights.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
def command(
    adapter: Path,
    model: str,
    output: Path,
    merge: bool,
    precision: str | None,
    trust_remote_code: bool,
) -> None:
    """Merge ADAPTER into MODEL, or copy it, for serving."""
    from safeft.models import export

    export(
        model,
        adapter,
        output,
        merge=merge,
        precision=precision,
        trust_remote_code=trust_remote_code,
    )
    click.echo(f"wrote {output}")
