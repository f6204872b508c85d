"""safeft plan: how many seeds, prompts and decodings a comparison needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from safeft.stats.design import Design, Factor, Spread

SHOWN = (3, 5, 10, 20)
USUAL = (5, 440, 1)  # training seeds, prompts, decodings
FACTORS: dict[Factor, str] = {
    "seeds": "training seeds",
    "prompts": "prompts",
    "decodes": "decodings",
}


class Wanted(NamedTuple):
    """What a study shall find: any difference or this, with a power, among that many recipes."""

    difference: float | None
    power: float
    recipes: int


@click.command("plan")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--recipe", help="Of the pilot RUN: the recipe beside its baseline.")
@click.option("--training-sd", type=float, help="Between training runs, e.g. 0.04 for 4 points.")
@click.option("--prompt-sd", type=float, help="Of the recipes' difference between prompts.")
@click.option("--residual-sd", type=float, help="Of one verdict around all of these.")
@click.option("--decoding-sd", type=float, default=0.0, help="Between decoding seeds.")
@click.option("--interaction-sd", type=float, default=0.0, help="A training run's, on each prompt.")
@click.option("--difference", type=float, help="The difference to detect, e.g. 0.1.")
@click.option("--power", type=click.FloatRange(0, 1, True, True), default=0.8, show_default=True)
@click.option("--seeds", type=click.IntRange(2), help="Training seeds: the RUN's own, or 5.")
@click.option("--prompts", type=click.IntRange(2), help="The RUN's own number, or 440.")
@click.option("--decodings", type=click.IntRange(1), help="The RUN's own number, or 1.")
@click.option("--recipes", type=click.IntRange(1), default=1, show_default=True)
def command(
    run: Path | None,
    recipe: str | None,
    difference: float | None,
    power: float,
    seeds: int | None,
    prompts: int | None,
    decodings: int | None,
    recipes: int,
    **deviations: float | None,
) -> None:
    """Say what a design can detect, from a pilot RUN or from standard deviations.

    And, for a --difference, how many training seeds, prompts or decodings show it, each with the
    other two as they are. --recipes is how many are compared with the baseline at once.
    """
    from safeft.stats.design import Design

    if run is not None:
        from safeft.comparison.pilot import pilot

        spread, usual = pilot(run, recipe)
    else:
        spread, usual = _stated(deviations), Design(*USUAL)
    once = run is not None and usual.decodes == 1
    design = Design(seeds or usual.seeds, prompts or usual.prompts, decodings or usual.decodes)
    wanted = Wanted(difference, power, recipes)
    table = _table(spread, design, run is not None or seeds is not None, wanted)
    # A difference that is refused is refused alone, not below a table.
    click.echo("\n".join([_said(spread), *table, *_needed(spread, design, wanted, once)]))


def _stated(deviations: Mapping[str, float | None]) -> Spread:
    """The spread of the options. Raises UsageError when one that has no default is missing."""
    from safeft.stats.design import Spread

    given = {
        option.removesuffix("_sd"): value
        for option, value in deviations.items()
        if value is not None
    }
    if not {"training", "prompt", "residual"} <= set(given):
        raise click.UsageError(
            "give a pilot RUN, or --training-sd, --prompt-sd (of the recipes' difference, so no "
            "report's prompt row) and --residual-sd"
        )
    return Spread(**given)


def _said(spread: Spread) -> str:
    parts = (
        f"{name} {100 * getattr(spread, name):.1f}"
        for name in ("training", "decoding", "prompt", "interaction", "residual")
    )
    return f"standard deviations in points: {', '.join(parts)}"


def _table(spread: Spread, design: Design, own: bool, wanted: Wanted) -> Iterator[str]:
    """What fewer and more training seeds detect; the design first that is somebody's `own`."""
    from safeft.stats.design import detectable

    first = [design.seeds] if own else []
    for seeds in (*first, *(one for one in SHOWN if one not in first)):
        one = replace(design, seeds=seeds)
        found = detectable(spread, one, recipes=wanted.recipes, power=wanted.power)
        yield f"{_listed(one, FACTORS)}: {f'{100 * found:.1f} points' if found < 1 else 'nothing'}"


def _needed(spread: Spread, design: Design, wanted: Wanted, once: bool) -> Iterator[str]:
    """How many of each are enough. `once` says that nothing was decoded twice in the pilot."""
    from safeft.stats.design import needed

    if wanted.difference is None:
        return
    yield f"{100 * wanted.difference:g} points with power {wanted.power:g} need one of:"
    for factor, name in FACTORS.items():
        fewest = needed(
            spread, wanted.difference, design, factor, recipes=wanted.recipes, power=wanted.power
        )
        others = _listed(design, [one for one in FACTORS if one != factor], " and ")
        if fewest is not None:
            yield f"  {fewest} {name}, with {others}"
        elif factor == "decodes" and once:
            yield f"  {name}: not known, since the pilot decoded once; draw several at T > 0"
        else:
            yield f"  {name}: no number of them is enough with {others}"


def _listed(design: Design, factors: Iterable[Factor], between: str = " × ") -> str:
    return between.join(f"{getattr(design, one)} {FACTORS[one]}" for one in factors)
