"""safeft train RECIPE: fine-tune a model."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("train")
@click.argument("recipe")
@click.option("--model", required=True, help="testbed:aligned, a folder, or org/name@revision.")
@click.option("--data", required=True, help="A shipped set (garden), a path, or a Hub id.")
@click.option("--revision", help="Revision of a Hub data set.")
@click.option("--split", help="Split of the data; default train.")
@click.option("--rows", type=click.IntRange(1), help="Only the first rows.")
@click.option("--seed", type=int, default=0, show_default=True, help="Training seed.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--suite", default="safeft-44", show_default=True, help="Suite to keep out.")
@click.option("--allow-overlap", is_flag=True, help="Train on rows that repeat the suite.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
def command(
    recipe: str,
    model: str,
    data: str,
    revision: str | None,
    split: str | None,
    rows: int | None,
    seed: int,
    output: Path,
    overrides: tuple[str, ...],
    suite: str,
    allow_overlap: bool,
    trust_remote_code: bool,
) -> None:
    """Fine-tune MODEL on DATA with RECIPE (a shipped name or a YAML path)."""
    from safeft.data import examples, load
    from safeft.data.overlap import refuse
    from safeft.data.shipped import shipped
    from safeft.evaluation import load_suite
    from safeft.training import load_recipe, train

    read = load_recipe(recipe, overrides)
    source = load(shipped(data), revision=revision, split=split, limit=rows)
    click.echo(f"{source.label}: {len(source.rows)} rows, format {source.format}")
    found = examples(source)
    refuse(found, load_suite(suite).all_prompts(), insist=allow_overlap)
    trained = train(
        read,
        model=model,
        examples=found,
        seed=seed,
        output=output,
        trust_remote_code=trust_remote_code,
    )
    counts, cost = trained.facts["rows"], trained.facts["cost"]
    click.echo(
        f"{counts['rows']} rows ({counts['truncated']} truncated, {counts['fully_masked']} fully "
        f"masked), {cost['tokens']} tokens, {cost['seconds']:.0f} s"
    )
    for method, notes in trained.facts["methods"].items():
        click.echo(f"{method}: {', '.join(f'{key} {value}' for key, value in notes.items())}")
    click.echo(f"adapters: {', '.join(str(path) for path in trained.adapters)}")
