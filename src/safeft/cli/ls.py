"""safeft ls: what ships."""

from __future__ import annotations

from collections.abc import Iterable

import click

_COLUMNS = "{:<16} {:<12} {:<32} {}"
KINDS = ("recipes", "guardrails", "suites", "judges", "models")


@click.command("ls")
@click.argument("kind", type=click.Choice(KINDS), required=False)
def command(kind: str | None) -> None:
    """List what can be named: recipes, guardrails, suites, judges, models.

    `safeft ls recipes` also says which slots each fills, what it costs, and the evidence.
    """
    for one in [kind] if kind else KINDS:
        click.echo(f"{one}: {', '.join(_names(one))}")
    if kind == "recipes":
        _catalogue()


def _names(kind: str) -> list[str]:
    if kind == "judges":
        from safeft.judges import judge_names

        return list(judge_names())
    if kind == "models":
        from safeft.models.names import TESTBED

        return [f"testbed:{path.parent.name}" for path in sorted(TESTBED.glob("*/config.json"))]
    from safeft.assets import folder

    place = "eval/suites" if kind == "suites" else kind
    return [path.stem for path in sorted(folder(place).glob("*.yaml"))]


def _catalogue() -> None:
    """For each shipped recipe the columns, its summary, each method's evidence, and our figures."""
    from safeft.training import load_recipe
    from safeft.training.advice import evidence

    click.echo(_COLUMNS.format("recipe", "slots", "cost beside baseline", "source (arXiv)"))
    for name in _names("recipes"):
        recipe = load_recipe(name)
        slots = _joined((one.slot for one in recipe.methods), "–")
        costs = _joined((one.cost for one in recipe.methods), "none")
        sources = _joined((one.source for one in recipe.methods), "–")
        click.echo(_COLUMNS.format(name, slots, costs, sources))
        for line in (recipe.summary, *(one.evidence for one in recipe.methods)):
            click.echo(f"    {line}")
        if name in evidence():
            click.echo(f"    ours: {evidence()[name].measured or 'not measured'}")


def _joined(values: Iterable[str], absent: str) -> str:
    """Each value once, in order."""
    return ", ".join(dict.fromkeys(value for value in values if value)) or absent
