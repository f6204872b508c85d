"""safeft guard calibrate: a policy's thresholds from the fine-tuned model's own benign answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from safeft.guarding.calibration import Calibration, Verification
    from safeft.stats import Interval

SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
PATH = click.Path(path_type=Path)
SHOWN = 20  # withheld prompts that are named


@click.command("calibrate")
@click.option("--policy", default="default", show_default=True, help="A shipped name or a YAML.")
@click.option("--model", default="", help="testbed:aligned, a folder, or org/name@revision.")
@click.option("--adapter", default="", help="Merged into MODEL.")
@click.option("--engine", default="auto", show_default=True, help="transformers, vllm, or a URL.")
@click.option("--benign", required=True, help="Harmless prompts: what train takes for --data.")
@click.option("--responses", type=PATH, help="Stored answers to them; MODEL is then their name.")
@click.option("--fpr", type=SHARE, default=0.01, show_default=True, help="Withheld at most.")
@click.option("--confidence", type=SHARE, default=0.95, show_default=True, help="Of that promise.")
@click.option("--temperature", type=click.FloatRange(0), help="Default 0.7; 0 with --responses.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=48, show_default=True)
@click.option("--format", help="Format of the rows, when two fit.")
@click.option("--skip-broken", is_flag=True, help="Name broken rows and go on without them.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
@click.option("--output", type=PATH, help="The calibrated policy, a new YAML.")
@click.option("--verify", type=PATH, metavar="POLICY", help="Test what was promised of it instead.")
def command(
    policy: str,
    benign: str,
    fpr: float,
    confidence: float,
    temperature: float | None,
    seed: int,
    max_new_tokens: int,
    format: str | None,
    skip_broken: bool,
    output: Path | None,
    verify: Path | None,
    **who: Any,
) -> int:
    """Ask MODEL benign prompts, and set the policy's thresholds by its answers.

    Of such answers the policy then withholds at most --fpr, with --confidence over the draw of
    the prompts. Run the same command again to resume. --verify asks new prompts of a calibrated
    policy, and ends with exit code 1 when more are withheld than was promised.
    """
    if (output is None) == (verify is None):
        raise click.UsageError("give --output for the new policy, or --verify a calibrated one")
    from safeft.cli.data import rows_of
    from safeft.comparison.calibrating import Asked, Draw, calibrate_policy, verify_policy
    from safeft.records import Decoding

    asked = Asked(**who)
    degree = temperature if temperature is not None else 0.0 if asked.responses else 0.7
    _, rows = rows_of(benign, skip_broken, format=format)
    draw = Draw.of(asked, rows, Decoding(degree, seed, max_new_tokens))
    click.echo(f"{len(draw.prompts)} prompts; {draw.repeated} repeated ones left out", err=True)
    if output is not None:
        found = calibrate_policy(policy, output, draw, fpr, confidence)
        click.echo("\n".join([*_calibrated(found), f"policy: {output}"]))
        return 0
    assert verify is not None
    tested, notes = verify_policy(verify, draw)
    click.echo("\n".join([*_verified(tested), *(f"note: {one}" for one in notes)]))
    return int(tested.drifted)


def _calibrated(found: Calibration) -> Iterator[str]:
    yield f"thresholds moved by {found.shift:+.4f} logits"
    for name, stage in found.policy.stages.items():
        own = [(key, one.threshold) for key, one in stage.categories.items()]
        shown = [f"{key} {one:.6g}" for key, one in own if one is not None]
        yield f"{name}: {', '.join([f'{stage.threshold:.6g}', *shown])}"
    yield (
        f"of answers like these at most {100 * found.alpha:g} % are withheld, with "
        f"{100 * found.confidence:g} % confidence; of these {_share(found.rate)}"
    )
    yield from _unread(found.unread)


def _verified(found: Verification) -> Iterator[str]:
    promised = f"at most {100 * found.alpha:g} %"
    yield f"withheld: {_share(found.rate)}; promised: {promised}"
    if found.withheld:
        more = len(found.withheld) - SHOWN
        rest = f" and {more} more" if more > 0 else ""
        yield f"  {', '.join(found.withheld[:SHOWN])}{rest}"
    yield from _unread(found.unread)
    said = f"exact one-sided p {found.p:.3g}"
    yield f"DRIFT: {promised} is refuted ({said})" if found.drifted else f"no drift ({said})"
    likeness = found.likeness
    yield (
        f"note: the scores' distributions lie {likeness.distance:.3f} apart "
        f"(Kolmogorov–Smirnov, p {likeness.p:.3g})"
    )


def _unread(count: int) -> Iterator[str]:
    if count:
        yield f"unread by a judge: {count}; under `on_error: open` such answers are released"


def _share(rate: Interval) -> str:
    bounds = f"[{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    return f"{100 * rate.estimate:.1f} % {bounds} of n={rate.n} ({rate.method})"
