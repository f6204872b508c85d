"""safeft ls: what ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

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
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "slots", "cost beside baseline", "source", "evidence", show_lines=True)
    for row in _recipes():
        table.add_row(*row)
    Console().print(table)


def _recipes() -> Iterator[Sequence[str]]:
    """A row for each shipped recipe: its methods' slots, cost, arXiv ids and evidence."""
    from safeft.training import load_recipe

    for name in _names("recipes"):
        methods = load_recipe(name).methods
        columns = (
            [method.slot for method in methods],
            [method.cost for method in methods],
            [method.source for method in methods],
            [method.evidence for method in methods],
        )
        yield (name, *("\n".join(dict.fromkeys(filter(None, column))) for column in columns))
