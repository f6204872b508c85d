"""safeft recommend: which two recipes to try first, with what is known of them."""

from __future__ import annotations

import click


@click.command("recommend")
@click.option("--api", is_flag=True, help="The model is tuned behind an API; else by its weights.")
@click.option("--trained", is_flag=True, help="An adapter is trained already.")
@click.option("--base", is_flag=True, help="The aligned model's base model is at hand.")
@click.option("--no-safety-data", is_flag=True, help="No harmful prompts may be trained on.")
@click.option(
    "--compute",
    type=click.Choice(["none", "some", "double"]),
    default="some",
    show_default=True,
    help="Beyond plain tuning: none, a generation pass, or a second forward pass.",
)
@click.option("--markdown", is_flag=True, help="Print the whole table, docs/recommend.md.")
def command(
    api: bool, trained: bool, base: bool, no_safety_data: bool, compute: str, markdown: bool
) -> None:
    """Name the two recipes to try first with what you have, and the evidence for them."""
    from safeft.comparison.advising import advice, advice_markdown
    from safeft.training.advice import COMPUTES, Situation

    if markdown:
        click.echo(advice_markdown(), nl=False)
        return
    level = next(one for one in COMPUTES if one == compute)
    have = Situation("api" if api else "weights", trained, base, not no_safety_data, level)
    click.echo("\n".join(advice(have)))
