"""safeft compare MATRIX: the main job."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click


@click.command("compare")
@click.argument("matrix")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The run's folder.")
@click.option("--recipes", help="Comma-separated recipes instead of the YAML's.")
@click.option("--adapters", multiple=True, metavar="NAME=PATH[,PATH…]", help="Existing adapters.")
@click.option("--model", help="Instead of the YAML's.")
@click.option("--data", help="Instead of the YAML's.")
@click.option("--training-seeds", type=click.IntRange(1), help="How many, from 0.")
@click.option("--workers", type=click.IntRange(1), help="Processes side by side.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--allow-overlap", is_flag=True, help="Train on rows that repeat the suite.")
def command(
    matrix: str,
    output: Path,
    recipes: str | None,
    adapters: tuple[str, ...],
    model: str | None,
    data: str | None,
    training_seeds: int | None,
    workers: int | None,
    overrides: tuple[str, ...],
    allow_overlap: bool,
) -> None:
    """Train, ask and judge every recipe of MATRIX (a YAML) for each training seed; report.

    Run the same command again to resume.
    """
    from safeft.comparison import compare, load_matrix

    given = [*overrides, *_options(recipes, adapters, model, data, training_seeds, workers)]
    document, written = compare(
        load_matrix(matrix, given), output, insist=allow_overlap, progress=Progress()
    )
    from safeft.report import print_headline

    print_headline(document)
    click.echo(f"report: {written['report.html']}")


def _options(
    recipes: str | None,
    adapters: tuple[str, ...],
    model: str | None,
    data: str | None,
    seeds: int | None,
    workers: int | None,
) -> list[str]:
    """The shorthands as overrides of the YAML, their values in JSON, which YAML reads as it is."""
    simple = {"model": model, "data": data, "training_seeds": seeds, "workers": workers}
    values: dict[str, object] = {key: one for key, one in simple.items() if one is not None}
    if recipes:
        values["recipes"] = [one.strip() for one in recipes.split(",")]
    for one in adapters:
        name, separator, paths = one.partition("=")
        if not separator or not name or not paths or "." in name:
            raise click.BadParameter(
                f"{one!r}: expected NAME=PATH, and no dot in NAME", param_hint="--adapters"
            )
        values[f"adapters.{name}"] = paths.split(",")
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


class Progress:
    """One line for each finished cell, with the time that is left at this pace."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.first: int | None = None

    def __call__(self, name: str, done: int, total: int) -> None:
        self.first = done if self.first is None else self.first
        spent, made = time.monotonic() - self.start, done - self.first
        left = f", about {spent / made * (total - done) / 60:.0f} min left" if made else ""
        click.echo(f"[{done}/{total}] {name}{left if done < total else ''}", err=True)
