"""Judges by name: the shipped ones, a YAML of eval/judges or any path, then entry points."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from safeft.assets import find, folder, read_yaml
from safeft.errors import ConfigError, did_you_mean
from safeft.generation import Generator
from safeft.generation.endpoint import EndpointGenerator
from safeft.generation.schema import VLLM, installed
from safeft.generation.transformers import TransformersGenerator
from safeft.generation.vllm import VllmEngine, VllmGenerator
from safeft.judges.bfloat16 import Bfloat16Judge
from safeft.judges.encoder import EncoderJudge
from safeft.judges.endpoint import EndpointJudge
from safeft.judges.judge import Judge
from safeft.judges.keyword import KeywordJudge
from safeft.judges.prompted import PromptedJudge
from safeft.judges.schema import JudgeFile
from safeft.judges.toxicity import ToxicityJudge
from safeft.models import load_model, load_tokenizer

_LOG = logging.getLogger("safeft")
GROUP = "safeft.judges"
SHIPPED: dict[str, Callable[[], Judge]] = {
    "encoder": EncoderJudge,
    "encoder-bf16": Bfloat16Judge,
    "keyword": KeywordJudge,
    "toxicity": ToxicityJudge,
}


def load_judge(name: str) -> Judge:
    """The judge called `name`. An entry point is called without arguments and returns a judge.

    Weights are loaded when the judge is first asked. Raises ConfigError for an unknown name, or
    when an installed judge cannot be loaded, ModelError when a judge's prompt cannot be had.
    """
    # Shipped names win: installing a package must not change what `encoder` means.
    if name in SHIPPED:
        return SHIPPED[name]()
    if Path(name).is_file() or name in _written():
        return prompted(read_yaml(find("eval/judges", name), JudgeFile))
    installed = _installed()
    if name not in installed:
        hint = did_you_mean(name, [*SHIPPED, *_written(), *installed])
        raise ConfigError(f"judge: unknown name {name!r}{hint}")
    return _build(installed[name])


def prompted(spec: JudgeFile) -> PromptedJudge:
    """A judge from its YAML, asked through Transformers, vLLM or an endpoint."""
    # A template that is no chat turn is the model's whole input.
    where = spec.template
    raw = any((where.file, where.path, where.text)) and not where.chat

    def at_endpoint() -> EndpointGenerator:
        asked = spec.engine, spec.model, spec.endpoint
        return EndpointGenerator(*asked, raw=raw, skip_long=True)  # which leaves it unread

    def here() -> Generator:
        if spec.engine == VLLM:
            return VllmGenerator(VllmEngine(spec.model, options=spec.vllm, raw=raw))
        tokenizer = load_tokenizer(spec.model, chat=not raw)
        return TransformersGenerator(load_model(spec.model), tokenizer, spec.model, raw=raw)

    return EndpointJudge(spec, at_endpoint) if spec.remote else PromptedJudge(spec, here)


def tell(judges: Iterable[Judge]) -> None:
    """Say where requests and answers will go, for each judge that an endpoint answers for.

    Raises ConfigError when a judge could not be asked: its engine, client or key is missing.
    """
    for judge in judges:
        if isinstance(judge, PromptedJudge):
            installed(judge.spec.engine)
        if isinstance(judge, EndpointJudge):
            url = judge.spec.engine
            judge.spec.endpoint.key(url)
            _LOG.warning("judge %s: requests and answers are sent to %s", judge.spec.name, url)


def judge_names() -> list[str]:
    """Every name that `load_judge` knows, sorted."""
    return sorted({*SHIPPED, *_written(), *_installed()})


def _written() -> list[str]:
    return [path.stem for path in folder("eval/judges").glob("*.yaml")]


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _build(point: EntryPoint) -> Judge:
    try:
        judge: Judge = point.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"judge {point.name!r} ({point.value}): {error}") from error
    return judge
