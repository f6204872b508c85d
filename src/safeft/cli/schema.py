"""safeft schema: the JSON schema of what can be written in YAML."""

from __future__ import annotations

import importlib
import json

import click

MODELS = {
    "recipe": ("safeft.training.schema", "Recipe"),
    "comparison": ("safeft.comparison.matrix", "Matrix"),
    "suite": ("safeft.evaluation.suites", "SuiteFile"),
    "judge": ("safeft.judges.schema", "JudgeFile"),
    "policy": ("safeft.guarding.policy", "Policy"),
    "guard-judge": ("safeft.guarding.schema", "PromptedFile"),
    "attack": ("safeft.evaluation.attacks", "AttackFile"),
    "tap": ("safeft.evaluation.tap", "TapFile"),
    "experiment": ("safeft.comparison.experiment", "Experiment"),
}


@click.command("schema")
@click.argument("kind", type=click.Choice(list(MODELS)), default="recipe")
def command(kind: str) -> None:
    """Print the JSON schema of a YAML, such as a recipe or a comparison."""
    click.echo(json.dumps(_schema(kind), indent=2))


def _schema(kind: str) -> dict[str, object]:
    place, name = MODELS[kind]
    schema: dict[str, object] = getattr(importlib.import_module(place), name).model_json_schema()
    return schema
