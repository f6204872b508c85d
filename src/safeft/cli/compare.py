"""safeft compare [MATRIX]: the main job, from a YAML, from options, or from both."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click


@click.command("compare")
@click.argument("matrix", required=False)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The run's folder.")
@click.option("--recipes", multiple=True, metavar="NAME[,NAME…]", help="Shipped names or YAMLs.")
@click.option("--adapters", multiple=True, metavar="NAME=PATH[,PATH…]", help="Existing adapters.")
@click.option("--model", help="testbed:aligned, a folder, or org/name@revision.")
@click.option("--data", help="A shipped set (garden), a path, or a Hub id.")
@click.option("--training-seeds", metavar="N|0,1,…", help="How many, from 0, or which.")
@click.option("--factor", "factors", multiple=True, metavar="KEY=V1,V2…", help="Vary it, too.")
@click.option("--workers", type=click.IntRange(1), help="Processes side by side.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--allow-overlap", is_flag=True, help="Train on rows that repeat the suite.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
def command(
    matrix: str | None,
    output: Path,
    overrides: tuple[str, ...],
    allow_overlap: bool,
    trust_remote_code: bool,
    **shorthands: Any,
) -> None:
    """Train, ask and judge every recipe of MATRIX (a YAML) for each training seed; report.

    Options win over the YAML's keys, and say it all when there is no YAML. A YAML with `models`
    states several comparisons. Run the same command again to resume.
    """
    if matrix is None and not (shorthands["recipes"] or shorthands["adapters"] or overrides):
        raise click.UsageError(
            "name a MATRIX (a YAML), or give --model with --recipes and --data, or with "
            "--adapters, e.g. --recipes baseline,safety_mix --model testbed:aligned --data garden"
        )
    from safeft.comparison import compare, load_matrix
    from safeft.comparison.experiment import is_experiment, load_experiment, run_experiment

    given = _options(**shorthands)
    allowed = {"insist": allow_overlap, "trust_remote_code": trust_remote_code}
    if matrix is not None and is_experiment(matrix):
        experiment = load_experiment(matrix, [*overrides, *(f"shared.{one}" for one in given)])
        page = run_experiment(experiment, output, **allowed, progress=Progress())
        click.echo(f"report: {page}")
        return
    document, written = compare(
        load_matrix(matrix, [*overrides, *given]), output, **allowed, progress=Progress()
    )
    from safeft.report import print_headline

    print_headline(document)
    click.echo(f"report: {written['report.html']}")


def _options(
    recipes: tuple[str, ...],
    adapters: tuple[str, ...],
    model: str | None,
    data: str | None,
    training_seeds: str | None,
    factors: tuple[str, ...],
    workers: int | None,
) -> list[str]:
    """The shorthands as overrides of the YAML, their values in JSON, which YAML reads as it is."""
    simple = {"model": model, "data": data, "workers": workers}
    values: dict[str, object] = {key: one for key, one in simple.items() if one is not None}
    if recipes:
        values["recipes"] = [name.strip() for one in recipes for name in one.split(",")]
    if training_seeds is not None:
        values["training_seeds"] = _seeds(training_seeds)
    if factors:
        values["factors"] = _varied(factors)
    for one in adapters:
        name, separator, paths = one.partition("=")
        if not separator or not name or not paths or "." in name:
            raise click.BadParameter(
                f"{one!r}: expected NAME=PATH, and no dot in NAME", param_hint="--adapters"
            )
        values[f"adapters.{name}"] = paths.split(",")
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def _varied(factors: tuple[str, ...]) -> dict[str, list[Any]]:
    """`lora.r=8,16` as the YAML's list; in one override, since the names of factors have dots."""
    from safeft.assets import parse_yaml
    from safeft.errors import ConfigError

    found: dict[str, list[Any]] = {}
    for one in factors:
        key, separator, levels = one.partition("=")
        try:
            values = parse_yaml(f"[{levels}]", "--factor")
        except ConfigError:
            values = []
        if not separator or not key or not values:
            raise click.BadParameter(f"{one!r}: expected KEY=V1,V2", param_hint="--factor")
        if key in found:
            raise click.BadParameter(f"{key} appears twice; keep one", param_hint="--factor")
        found[key] = values
    return found


def _seeds(text: str) -> int | list[int]:
    """`5` counts seeds from 0; `0,3` names them, and so does `3,`."""
    try:
        listed = [int(one) for one in text.split(",") if one.strip()]
    except ValueError:
        listed = []
    if not listed or min(listed) < ("," not in text):
        raise click.BadParameter(
            f"{text!r}: expected how many, such as 5, or which, such as 0,3",
            param_hint="--training-seeds",
        )
    return listed if "," in text else listed[0]


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
