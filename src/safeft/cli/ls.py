"""safeft ls: what ships."""

from __future__ import annotations

import click

KINDS = ("recipes", "guardrails", "suites", "judges", "models")


@click.command("ls")
@click.argument("kind", type=click.Choice(KINDS), required=False)
def command(kind: str | None) -> None:
    """List what can be named: recipes, guardrails, suites, judges, models."""
    for one in [kind] if kind else KINDS:
        click.echo(f"{one}: {', '.join(_names(one))}")


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
