"""safeft repair ADAPTER: edits after training, measured, and the one to take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("repair")
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model that the adapter was trained on.")
@click.option("--base", help="The model before its alignment; for safe_lora and safe_merge.")
@click.option("--safety-adapter", help="Folder of an adapter tuned on safety rows; safe_merge.")
@click.option("--harm-adapter", help="Folder of an adapter tuned on harmful answers; resta.")
@click.option("--methods", metavar="A,B", help="Default: all that the other options allow.")
@click.option("--strengths", metavar="0.25,0.5", help="Above 0, up to 1; default: each its own.")
@click.option("--suite", default="safeft-44", show_default=True, help="A shipped name or a YAML.")
@click.option("--per-category", type=click.IntRange(1), help="Only the first prompts of each.")
@click.option("--judge", "judges", multiple=True, help="The first one picks; default: encoder.")
@click.option("--test-data", required=True, help="Rows of the task, for the held-out loss.")
@click.option("--epsilon", type=click.FloatRange(0), default=0.05, show_default=True)
@click.option("--workers", type=click.IntRange(1), help="Processes side by side.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Of a comparison.")
@click.option("--allow-overlap", is_flag=True, help="Re-align on rows that repeat the suite.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The run's folder.")
def command(
    adapter: Path,
    model: str,
    methods: str | None,
    strengths: str | None,
    epsilon: float,
    overrides: tuple[str, ...],
    allow_overlap: bool,
    trust_remote_code: bool,
    output: Path,
    **keys: Any,
) -> None:
    """Try every edit of ADAPTER (any PEFT folder) that may make it safer, and pick one.

    The pick is the least harmful whose held-out loss rises by at most EPSILON of the original's.
    Run the same command again to resume.
    """
    from safeft.cli.compare import Progress
    from safeft.comparison.candidates import Repair
    from safeft.comparison.repairing import repair
    from safeft.report import print_headline

    others = {key: keys.pop(key) for key in ("base", "safety_adapter", "harm_adapter")}
    wanted = Repair(
        adapter=adapter,
        model=model,
        methods=tuple(name.strip() for name in methods.split(",")) if methods else (),
        strengths=_strengths(strengths),
        epsilon=epsilon,
        **others,
    )
    given = {key: value for key, value in keys.items() if value not in (None, ())}
    settings = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    found = repair(
        wanted,
        [*overrides, *settings],
        output,
        insist=allow_overlap,
        trust_remote_code=trust_remote_code,
        progress=Progress(),
    )
    print_headline(found.document)
    click.echo(f"adapter: {found.adapter}")
    click.echo(f"report: {found.written['report.html']}")


def _strengths(text: str | None) -> tuple[float, ...]:
    """`0.25,0.5` as numbers above 0, up to 1."""
    try:
        found = tuple(float(one) for one in text.split(",")) if text else ()
    except ValueError:
        found = (0.0,)
    if not all(0 < one <= 1 for one in found):
        raise click.BadParameter(
            f"{text!r}: expected numbers above 0 and up to 1, such as 0.25,0.5",
            param_hint="--strengths",
        )
    return tuple(dict.fromkeys(found))
