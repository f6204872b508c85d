"""safeft audit DATA: which rows would erode refusals, and what else is wrong with them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = click.Path(path_type=Path)


@click.command("audit")
@click.argument("data")
@click.option("--model", required=True, help="What is to be tuned: an aligned model.")
@click.option("--output", type=PATH, help="Where audit.jsonl, .md and .svg go; resumes there.")
@click.option("--filter", "target", type=PATH, metavar="OUT.jsonl", help="Write what stays.")
@click.option("--drop", "drops", multiple=True, metavar="K|SHARE|FINDING", help="What goes.")
@click.option("--suite", "suites", multiple=True, help="Prompts to keep out; default safeft-44.")
@click.option(
    "--score", type=click.Choice(["gradient", "representation"]), help="Default: representation."
)
@click.option("--references", type=PATH, help="Rows of prompt, refusal, compliance.")
@click.option("--compliant-model", default="", help="Writes compliance, e.g. testbed:base.")
@click.option("--policy", default="default", show_default=True, help="Its guard; none: no guard.")
@click.option("--region", help="Where phone numbers are dialled: US, DE, …")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="Rows shown.")
@click.option("--max-length", default=1024, show_default=True, type=click.IntRange(2))
@click.option("--revision", help="Revision of a Hub data set.")
@click.option("--split", help="Split of the data; default train.")
@click.option("--rows", "limit", type=click.IntRange(1), help="Only the first rows.")
@click.option("--format", help="Format of the rows, when two fit.")
@click.option("--skip-broken", is_flag=True, help="Name broken rows and go on without them.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
def command(
    data: str,
    output: Path | None,
    target: Path | None,
    drops: tuple[str, ...],
    policy: str,
    skip_broken: bool,
    **how: Any,
) -> None:
    """Score each row of DATA by how likely it is to erode MODEL's refusals, before training.

    Also finds harmful answers, evaluation prompts, repeated rows and personal data. --drop takes
    the highest-scored rows (100, or 0.05 of them) or a finding (harmful, unread, leaks,
    duplicates, personal), and may be given several times. Run the same command again to resume.
    """
    if bool(target) != bool(drops):
        raise click.UsageError("give --filter, where to write, and --drop, what goes, together")
    if how["references"] and how["compliant_model"]:
        raise click.UsageError("--references hold compliance already: leave --compliant-model out")
    from safeft.cli.data import rows_of
    from safeft.comparison.auditing import audit
    from safeft.comparison.scored import Asked
    from safeft.comparison.sifting import check_drops, check_target, write_kept
    from safeft.report.audit import summary_lines

    policy = "" if policy == "none" else policy
    check_drops(drops, policy)
    if target:
        check_target(target)
    reading = {key: how.pop(key) for key in ("revision", "split", "limit", "format")}
    source, rows = rows_of(data, skip_broken, **reading)
    asked = Asked(policy=policy, **{key: value for key, value in how.items() if value})
    with _place(output) as place:
        found = audit(source.label, rows, asked, place, _tell)
    click.echo("\n".join(summary_lines(found, asked.top)))
    if target:
        kept, gone = write_kept(found, source, drops, target)
        click.echo(f"{target}: {kept} rows stay, {gone} go")
    if output:
        click.echo(f"audit: {output / 'audit.md'}")


def _tell(what: str, done: int, total: int) -> None:
    """How far it is, on stderr."""
    click.echo(f"[{done}/{total}] {what}", err=True)


@contextmanager
def _place(output: Path | None) -> Iterator[Path]:
    """The run's folder; without one nothing is kept."""
    if output is not None:
        yield output
        return
    with TemporaryDirectory() as folder:
        yield Path(folder) / "audit"
