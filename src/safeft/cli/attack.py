"""safeft attack MODEL: search for requests that get through (TAP)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("attack")
@click.argument("model")
@click.option("--adapter", "adapters", multiple=True, help="Merged into MODEL, in this order.")
@click.option("--url", default="", help="MODEL's OpenAI-compatible endpoint, if it has one.")
@click.option("--attacker", required=True, help="The model that writes the requests.")
@click.option("--attacker-url", default="", help="Its endpoint.")
@click.option("--evaluator", help="The model that prunes; without one nothing is pruned.")
@click.option("--evaluator-url", default="", help="Its endpoint.")
@click.option("--judge", default="encoder", show_default=True, help="Says when a goal is reached.")
@click.option("--suite", default="safeft-44", show_default=True, help="Its requests are the goals.")
@click.option("--set", "goals", default="harm", show_default=True, help="The set of the suite.")
@click.option("--per-category", type=click.IntRange(1), help="Only the first goals of each.")
@click.option("--words", default="tap", show_default=True, help="What attacker and evaluator hear.")
@click.option("--depth", type=click.IntRange(1), default=10, show_default=True, help="Rounds.")
@click.option("--width", type=click.IntRange(1), default=10, show_default=True, help="Kept.")
@click.option("--branching", type=click.IntRange(1), default=4, show_default=True)
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(1), default=150, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The run's folder.")
def command(
    model: str,
    adapters: tuple[str, ...],
    url: str,
    attacker: str,
    attacker_url: str,
    evaluator: str | None,
    evaluator_url: str,
    goals: str,
    output: Path,
    **keys: Any,
) -> None:
    """Attack MODEL with Tree of Attacks with Pruning, goal by goal. Run it again to resume.

    The tree's size defaults to the paper's: 10 rounds, 10 requests kept, 4 refinements of each.
    """
    if evaluator_url and evaluator is None:
        raise click.UsageError("--evaluator-url: name the model there with --evaluator")
    from safeft.cli.compare import Progress
    from safeft.comparison.attacking import Game, Player, attack_all
    from safeft.evaluation.tap import Budget
    from safeft.records import Decoding

    size = {key: keys.pop(key) for key in ("depth", "width", "branching")}
    drawn = {key: keys.pop(key) for key in ("temperature", "max_new_tokens")}
    game = Game(
        target=Player(model, url, adapters),
        attacker=Player(attacker, attacker_url),
        evaluator=Player(evaluator, evaluator_url) if evaluator else None,
        set=goals,
        budget=Budget(**size),
        decoding=Decoding(**drawn),
        **keys,
    )
    found = attack_all(game, output, Progress())
    click.echo(_said(found))
    click.echo(f"written: {output / 'attack.json'}")


def _said(found: dict[str, Any]) -> str:
    """The rate with its interval, and what it leaves out."""
    rate, asked = found["success"], found["queries"]
    lost = (
        f"; {found['unasked']} goals were never put to the model (the attacker wrote no request "
        "that could be read)"
    )
    lost = lost if found["unasked"] else ""
    if found["unread"]:
        lost += f"; {found['unread']} goals have verdicts that could not be read, and none reached"
    if rate is None:
        return f"jailbroken: n/a{lost}"
    return (
        f"jailbroken: {100 * rate['estimate']:.1f}% [{100 * rate['low']:.1f}, "
        f"{100 * rate['high']:.1f}] of {rate['n']} goals, judge {found['judge']}; "
        f"{asked['estimate']:.1f} [{asked['low']:.1f}, {asked['high']:.1f}] queries a goal{lost}"
    )
