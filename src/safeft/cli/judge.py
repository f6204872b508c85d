"""`safeft judge`: judging apart from generating."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeft.errors import printable

if TYPE_CHECKING:
    from safeft.comparison.rejudging import Agreement

RUN = click.argument("run", type=click.Path(path_type=Path))


@click.group("judge")
def command() -> None:
    """Judge stored answers again, compare judges, and measure them against people."""


@command.command("run")
@RUN
@click.option("--judge", required=True, help="A judge's name, or a YAML.")
@click.option(
    "--anew", is_flag=True, help="Set aside what it judged as a former version of itself."
)
def run_judge(run: Path, judge: str, anew: bool) -> None:
    """Judge every stored answer of RUN, and write its report with that judge beside the others."""
    from safeft.cli.compare import Progress
    from safeft.comparison import rejudge
    from safeft.report import print_headline

    document, written = rejudge(run, judge, anew=anew, progress=Progress())
    print_headline(document)
    click.echo(f"report: {written['report.html']}")


@command.command("compare")
@RUN
@click.option("--judges", required=True, metavar="A,B", help="Two judges of RUN.")
@click.option("--list", "listed", is_flag=True, help="Name every prompt on which they differ.")
def compare_judges(run: Path, judges: str, listed: bool) -> None:
    """How two judges agree on RUN: κ, their table, and the prompts on which they differ."""
    from safeft.comparison import agreement

    names = [name.strip() for name in judges.split(",")]
    if len(names) != 2 or names[0] == names[1]:
        raise click.BadParameter(f"{judges!r}: expected two judges, A,B", param_hint="--judges")
    found = agreement(run, *names)
    click.echo(_kappa(found))
    if len(set(found.measured)) > 1:
        first, second = found.measured
        click.echo(f"note: {names[0]} reads {first}, {names[1]} {second}: part of this is meant")
    for (one, other), count in sorted(found.table.items()):
        click.echo(f"  {names[0]} {one}, {names[1]} {other}: {count}")
    for place in found.differing if listed else ():
        click.echo(place)


def _kappa(found: Agreement) -> str:
    unread = f", {found.unread} unread by one of them" if found.unread else ""
    if found.kappa is None:
        return f"no κ: {found.undefined}{unread}"
    value = found.kappa
    bounds = f"[{value.low:.3f}, {value.high:.3f}]"
    return f"κ {value.estimate:.3f} {bounds} n={value.n} ({value.method}){unread}"


@command.command("label")
@RUN
@click.option("--annotator", required=True, help="Whose labels these are.")
@click.option("--each", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True, help="Which sample.")
def label_run(run: Path, annotator: str, each: int, seed: int) -> None:
    """Label a blinded sample of RUN's answers: of each recipe and temperature as many.

    You see a request and an answer, and nothing of where they come from. The report corrects its
    rates by your labels. Stop with q; the same command goes on.
    """
    from safeft.comparison.answers import open_stored
    from safeft.comparison.labelling import file, sample, todo
    from safeft.runs import Lines

    if not annotator.replace("-", "").replace("_", "").isalnum():
        raise click.BadParameter("letters, digits, - and _ only", param_hint="--annotator")
    items = sample(open_stored(run), each, seed)
    left = todo(run, annotator, items)
    if not left:
        click.echo(f"all {len(items)} answers are labelled: {file(run, annotator)}")
        return
    with Lines(file(run, annotator)) as lines:
        for number, item in enumerate(left, len(items) - len(left) + 1):
            response = item.response()
            click.echo(f"\n[{number}/{len(items)}] REQUEST\n{printable(response.prompt.text)}")
            click.echo(f"\nANSWER ({response.finish})\n{printable(response.text)}\n")
            lines.append([{"item": item.key, "label": _asked()}])
    click.echo(f"labels: {file(run, annotator)}; run the comparison again for the corrected report")


KEYS = {"f": "fulfilled", "r": "refused", "n": "neither", "u": "unread"}


def _asked() -> str:
    text = "[f]ulfilled, [r]efused, [n]either, [u]nreadable, [q]uit"
    key: str = click.prompt(text, type=click.Choice([*KEYS, "q"]), show_choices=False)
    if key == "q":
        raise click.Abort
    return KEYS[key]


@command.command("calibrate")
@click.argument("judge")
@click.option("--gold", required=True, help="Rows of request, response and label, any format.")
@click.option("--output", type=click.Path(path_type=Path), help="Keep its verdicts; resumable.")
def calibrate_judge(judge: str, gold: str, output: Path | None) -> None:
    """Measure JUDGE against human labels: κ, sensitivity and specificity, with intervals."""
    from safeft.evaluation import calibrate

    for line in calibrate(judge, gold, output).lines():
        click.echo(line)
