"""Judges for guards by name: the embedded ones, a YAML of guardrails/judges or any path, entry
points.

Nothing heavy is imported before a judge is asked for by its name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeft.assets import find, folder, read_mapping, read_yaml
from safeft.errors import ConfigError, did_you_mean
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Policy, Stage, StageName

if TYPE_CHECKING:
    from safeft.generation import Generator
    from safeft.guarding.asking import Asked
    from safeft.guarding.classifier import ClassifierGuard
    from safeft.guarding.probe_guard import ProbeGuard
    from safeft.guarding.prompted import PromptedGuard
    from safeft.guarding.schema import PromptedFile

_LOG = logging.getLogger("safeft")
GROUP = "safeft.judges"
PLACE = "guardrails/judges"
Examples = Mapping[str, Sequence[str]]


def load_guard_judge(name: StageName, stage: Stage) -> GuardJudge:
    """The judge that a stage names: `encoder-guard`, `examples`, a shipped name, a YAML, the card
    of a probe, or what an installed package offers.

    Weights are loaded when it is first asked. Raises ConfigError for an unknown name, for one that
    does not read this stage, and for a missing package or key; ModelError when its prompt or
    config cannot be had.
    """
    return _fitting(name, _load(stage.judge, stage.examples), stage.judge)


def output_judge(name: str) -> GuardJudge:
    """The judge of this name, for answers, without a policy. Raises as `load_guard_judge` does."""
    if name == "examples":
        raise ConfigError("guard 'examples': needs a policy's sentences; name another judge")
    return load_guard_judge("output", Stage(judge=name))


def load_second(stage: Stage, name: StageName = "output") -> GuardJudge:
    """The judge that a stage escalates to. Raises as `load_guard_judge` does."""
    if stage.escalate is None:
        raise ConfigError(f"{name}: names no judge to escalate to; add `escalate: {{judge: …}}`")
    return _fitting(name, _load(stage.escalate.judge, stage.examples), stage.escalate.judge)


def load_guard_judges(
    policy: Policy,
) -> tuple[dict[StageName, GuardJudge], dict[StageName, GuardJudge]]:
    """The judges of a policy's stages, and those that they escalate to. Who serves several stages
    is loaded once.

    Raises as `load_guard_judge` does, and ConfigError for a category that no judge of its stage
    has.
    """
    made: dict[str, GuardJudge] = {}

    def shared(name: StageName, judge: str, examples: Examples) -> GuardJudge:
        key = f"{judge} {sorted(examples.items())}" if judge == "examples" else judge
        if key not in made:
            made[key] = _load(judge, examples)
        return _fitting(name, made[key], judge)

    stages = policy.stages
    first = {name: shared(name, one.judge, one.examples) for name, one in stages.items()}
    second = {
        name: shared(name, one.escalate.judge, one.examples)
        for name, one in stages.items()
        if one.escalate
    }
    for name, stage in stages.items():
        _known(name, stage, [first[name], *([second[name]] if name in second else [])])
    return first, second


def guard_judge_names() -> list[str]:
    """Every name that a policy may give a judge, sorted."""
    return sorted({*_EMBEDDED, *_written(), *_installed()})


def _encoder_guard(_: Examples) -> GuardJudge:
    from safeft.guarding.encoder import EncoderGuard

    return EncoderGuard()


def _examples(examples: Examples) -> GuardJudge:
    from safeft.guarding.examples import ExamplesGuard

    return ExamplesGuard(examples)


_EMBEDDED: dict[str, Callable[[Examples], GuardJudge]] = {
    "encoder-guard": _encoder_guard,
    "examples": _examples,
}


def _load(judge: str, examples: Examples) -> GuardJudge:
    # Shipped names win: installing a package must not change what `encoder-guard` means.
    if judge in _EMBEDDED:
        return _EMBEDDED[judge](examples)
    if Path(judge).is_file() or judge in _written():
        return read_judge(find(PLACE, judge))
    installed = _installed()
    if judge not in installed:
        hint = did_you_mean(judge, [*_EMBEDDED, *_written(), *installed])
        raise ConfigError(f"guard judge: no file or known name {judge!r}{hint}")
    return _built(installed[judge])


def read_judge(path: Path) -> PromptedGuard | ClassifierGuard | ProbeGuard:
    """The judge that a YAML or the card of a probe describes.

    Raises as `load_guard_judge` does.
    """
    from safeft.guarding.schema import ClassifierFile, PromptedFile

    kinds = ("prompted", "classifier", "probe")
    kind = read_mapping(path).get("kind", "prompted")
    if kind not in kinds:
        hint = did_you_mean(str(kind), kinds)
        raise ConfigError(f"{path}: kind: {kind!r} is not valid{hint}")
    if kind == "prompted":
        return _prompted(read_yaml(path, PromptedFile))
    if kind == "probe":
        from safeft.guarding.probe_guard import ProbeGuard

        return ProbeGuard(path)
    from safeft.guarding.classifier import ClassifierGuard

    return ClassifierGuard(read_yaml(path, ClassifierFile))


def _prompted(spec: PromptedFile) -> PromptedGuard:
    """A judge that Transformers, vLLM or an endpoint asks; says where texts will go."""
    from safeft.generation.schema import installed
    from safeft.guarding.prompted import PromptedGuard

    installed(spec.engine)
    if spec.remote:
        spec.endpoint.key(spec.engine)
        _LOG.warning("judge %s: requests and answers are sent to %s", spec.name, spec.engine)
    return PromptedGuard(spec, lambda asked: _asker(spec, asked))


def _asker(spec: PromptedFile, asked: Asked) -> Generator:
    from safeft.generation.schema import VLLM
    from safeft.guarding.asking import EndpointAsker, TransformersAsker, VllmAsker
    from safeft.models import load_model, load_tokenizer

    if spec.remote:
        return EndpointAsker(spec.engine, spec.model, spec.endpoint, asked)
    if spec.engine == VLLM:
        return VllmAsker(spec.model, spec.vllm, asked)
    # A template that takes parts would fail the test with plain text.
    tokenizer = load_tokenizer(spec.model, chat=not (asked.raw or asked.parts))
    return TransformersAsker(load_model(spec.model), tokenizer, spec.model, asked)


def _fitting(name: StageName, judge: GuardJudge, known_as: str) -> GuardJudge:
    """The judge, if it reads what the stage holds."""
    kind = "request" if name == "input" else "exchange"
    if kind not in getattr(judge, "reads", (kind,)):
        reads = "answers" if kind == "request" else "requests"
        raise ConfigError(f"{name}.judge: {known_as} reads {reads} only; name another judge")
    return judge


def _known(name: StageName, stage: Stage, judges: Iterable[GuardJudge]) -> None:
    """Raises ConfigError for a category that would never be scored."""
    scored = [category for judge in judges for category in judge.categories or ("unsafe",)]
    for category in stage.categories:
        if category not in scored:
            hint = did_you_mean(category, scored)
            raise ConfigError(f"{name}.categories: {stage.judge} has no {category!r}{hint}")


def _written() -> list[str]:
    return [path.stem for path in folder(PLACE).glob("*.yaml")]


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _built(point: EntryPoint) -> GuardJudge:
    """An entry point is called without arguments and returns a judge with categories."""
    place = f"guard judge {point.name!r} ({point.value})"
    try:
        judge: Any = point.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"{place}: {error}") from error
    if lacks := [one for one in ("categories", "requests") if not hasattr(judge, one)]:
        raise ConfigError(
            f"{place}: grades answers and is no guard's judge, since it has no "
            f"{' and no '.join(lacks)}; see safeft.guarding.judge"
        )
    found: GuardJudge = judge
    return found
