"""safeft eval MODEL: ask the suite, judge the answers, report with intervals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Number = TypeVar("Number", int, float)


@click.command("eval")
@click.argument("model")
@click.option("--adapter", "adapters", multiple=True, help="Adapter; several count as seeds.")
@click.option("--responses", multiple=True, help="Answers from elsewhere; several are seeds.")
@click.option("--engine", default="auto", show_default=True, help="transformers, vllm, or a URL.")
@click.option("--endpoint-set", multiple=True, metavar="KEY=VALUE", help="How a URL is asked.")
@click.option("--quantization", metavar="int8|nf4|fp4", help="Load the weights with fewer bits.")
@click.option("--checkpoint", help="What answers in MODEL's place, such as its AWQ form.")
@click.option("--system-prompt", help="Said before every prompt.")
@click.option("--chat-template", metavar="FILE", help="A Jinja file in the tokenizer's place.")
@click.option("--suite", default="safeft-44", show_default=True, help="A shipped name or a YAML.")
@click.option("--suite-set", multiple=True, metavar="KEY=VALUE", help="Override the suite's keys.")
@click.option("--per-category", type=click.IntRange(1), help="Only the first prompts of each.")
@click.option("--decoding-seeds", default="0", show_default=True, metavar="0,1,2")
@click.option("--temperatures", default="0", show_default=True, metavar="0,0.7,1.0")
@click.option("--top-p", type=float, default=1.0, show_default=True)
@click.option("--judge", "judges", multiple=True, help="Default: encoder and keyword.")
@click.option("--correction", default="prediction-powered", help="Or rogan-gladen, by labels.")
@click.option("--published", metavar="CSV", help="SORRY-Bench's leaderboard, to lay beside it.")
@click.option("--policy", "policies", multiple=True, help="Also report behind this guardrail.")
@click.option("--test-data", help="Rows for held-out loss and ROUGE-L, e.g. garden_test.")
@click.option("--lm-eval", "tasks", multiple=True, metavar="TASK", help="lm-eval's name or a YAML.")
@click.option("--lm-eval-set", multiple=True, metavar="KEY=VALUE", help="How lm-eval measures.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
@click.option("--batch-size", type=click.IntRange(1), default=48, show_default=True)
@click.option("--workers", type=click.IntRange(1), help="Processes that share the decodings.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The run's folder.")
def command(
    model: str,
    adapters: tuple[str, ...],
    responses: tuple[str, ...],
    endpoint_set: tuple[str, ...],
    tasks: tuple[str, ...],
    lm_eval_set: tuple[str, ...],
    judges: tuple[str, ...],
    trust_remote_code: bool,
    output: Path,
    **keys: Any,
) -> None:
    """Ask MODEL the suite under every decoding, and report. Run it again to resume."""
    from safeft.cli.compare import Progress
    from safeft.comparison import compare
    from safeft.comparison.matrix import UNTUNED, made
    from safeft.report import print_headline

    name = "adapter" if adapters else "responses" if responses else UNTUNED
    drawn = {key: keys.pop(key) for key in ("temperatures", "decoding_seeds", "top_p")}
    # The other `keys` are the options that a comparison's YAML knows by the same name.
    matrix = made(
        title=f"Evaluation of {model}",
        model=model,
        untuned=not adapters and not responses,
        responses={"responses": list(responses)} if responses else {},
        adapters={name: list(adapters)} if adapters else {},
        endpoint=endpoint(endpoint_set),
        decodings=_decodings(**drawn),
        lm_eval=_lm_eval(tasks, lm_eval_set),
        judges=list(judges) or ["encoder", "keyword"],
        reference=name,
        **{key: list(one) if isinstance(one, tuple) else one for key, one in keys.items()},
    )
    document, written = compare(
        matrix, output, trust_remote_code=trust_remote_code, progress=Progress()
    )
    print_headline(document)
    click.echo(f"report: {written['report.html']}")


def _decodings(temperatures: str, decoding_seeds: str, top_p: float) -> dict[str, Any]:
    return {
        "temperatures": _numbers("--temperatures", temperatures, float),
        "seeds": _numbers("--decoding-seeds", decoding_seeds, int),
        "top_p": top_p,
    }


def endpoint(overrides: Sequence[str]) -> Any:
    """How an endpoint is asked, by `--endpoint-set`; ConfigError names a wrong key."""
    from safeft.generation.schema import Endpoint

    return overridden("--endpoint-set", Endpoint, overrides)


def _lm_eval(tasks: tuple[str, ...], overrides: tuple[str, ...]) -> Any:
    from safeft.comparison.blocks import LmEval

    if not tasks and overrides:
        raise click.UsageError("--lm-eval-set: name a task with --lm-eval")
    named = [f"tasks={json.dumps(tasks)}", *overrides]
    return overridden("--lm-eval-set", LmEval, named) if tasks else None


def overridden(option: str, kind: Any, overrides: Sequence[str]) -> Any:
    """A `kind` of nothing but an option's `KEY=VALUE`s; ConfigError names option and key."""
    from safeft.assets import read_yaml
    from safeft.errors import ConfigError

    try:
        return read_yaml(Path(os.devnull), kind, overrides)
    except ConfigError as error:
        raise ConfigError(str(error).replace(os.devnull, option)) from error


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> list[Number]:
    try:
        return [kind(one) for one in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r}: expected numbers such as 0,1", param_hint=option
        ) from error
