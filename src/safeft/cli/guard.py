"""`safeft guard`: guardrail policies. Sub-commands load when they are called."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from safeft.guarding.checker import Checker

ELSEWHERE = {"calibrate": "safeft.cli.guard_calibrate"}
"""Sub-commands with a module of their own, whose `command` they are."""


class _Group(click.Group):
    """Loads what has a module of its own on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them."""
        return sorted({*super().list_commands(ctx), *ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command by its name."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        found: click.Command = importlib.import_module(ELSEWHERE[cmd_name]).command
        return found


@click.group("guard", cls=_Group)
def command() -> None:
    """Check guardrail policies, and calibrate them to a model."""


@command.command("check")
@click.argument("policy")
def check(policy: str) -> None:
    """Say whether POLICY, a shipped name or a YAML, is valid, and in words what it does.

    Its judges are made, but no model is loaded or asked.
    """
    from safeft.guarding.explain import explain
    from safeft.guarding.loading import checker

    made = checker(policy)  # first: a wrong policy gets one message
    click.echo(explain(made.policy))
    click.echo(f"\n{_judges(made)}")


def _judges(made: Checker) -> str:
    """Each judge by its identity, and what it scores."""
    from safeft.guarding.decision import OVERALL
    from safeft.guarding.loading import named

    lines = [
        f"judge {called}: {judge.name}, scores {', '.join(judge.categories or (OVERALL,))}"
        for called, judge in named(made)
    ]
    return "\n".join(lines)
