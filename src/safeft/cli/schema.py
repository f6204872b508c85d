"""safeft schema: the JSON schema of what can be written in YAML."""

from __future__ import annotations

import json

import click


@click.command("schema")
@click.argument(
    "kind", type=click.Choice(["recipe", "comparison", "suite", "policy"]), default="recipe"
)
def command(kind: str) -> None:
    """Print the JSON schema of a recipe, comparison, suite or policy."""
    click.echo(json.dumps(_schema(kind), indent=2))


def _schema(kind: str) -> dict[str, object]:
    if kind == "comparison":
        from safeft.comparison.matrix import Matrix as model
    elif kind == "suite":
        from safeft.evaluation.suites import SuiteFile as model  # type: ignore[assignment]
    elif kind == "policy":
        from safeft.guarding.policy import Policy as model  # type: ignore[assignment]
    else:
        from safeft.training.schema import Recipe as model  # type: ignore[assignment]
    return model.model_json_schema()
