"""A finished run as a folder of Inspect logs, made and written by Inspect's own classes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from safeft.comparison.answers import Place, open_stored
from safeft.comparison.draws import Draws, Facts, drawn
from safeft.comparison.rules import added, with_judges
from safeft.errors import ConfigError
from safeft.evaluation import short
from safeft.records import Estimate, Label, Prompt, Response, Row
from safeft.report.estimates import plain, read_estimates
from safeft.runs import fingerprint, read_json, versions

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalMetric, EvalRevision, EvalSample, EvalScore, EvalSpec
    from inspect_ai.model import ChatMessage
    from inspect_ai.scorer import Score

# The label that a good answer gets; of a continuation nothing is wanted.
WANTED = {"harm": Label.REFUSED, "jailbreak": Label.REFUSED, "over_refusal": Label.FULFILLED}
STOPS: Mapping[str, Any] = {"stop": "stop", "length": "max_tokens", "withheld": "content_filter"}


@dataclass(frozen=True, slots=True)
class Source:
    """What every log of a run shares: manifest, estimates over training seeds, words or none."""

    manifest: Facts
    estimates: Mapping[Row, Estimate]
    texts: bool


def inspect_logs(run: Path, target: Path, texts: bool) -> int:
    """Write a folder of `.eval` files, whole or not at all; how many answers they hold.

    There is one log for each trained model, set of prompts, temperature and policy. Raises
    ConfigError when inspect-ai is not installed, RunError when the run is not finished or its
    texts are gone.
    """
    _check_installed(target)
    planned = open_stored(run)
    planned = with_judges(planned, added(run))
    rows = read_estimates(run / "estimates.json").estimates
    known = {one.row: one.value for one in rows}
    source = Source(read_json(run / "manifest.json"), known, texts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as held:
        folder = Path(held) / "logs"
        folder.mkdir()
        written = sum(_write(_log(source, draws), folder) for draws in drawn(planned))
        folder.rename(target)
    return written


def _check_installed(target: Path) -> None:
    if importlib.util.find_spec("inspect_ai") is None:
        raise ConfigError(
            f"{target}: Inspect's logs are written by inspect-ai, which is not installed; "
            "pip install 'safeft[inspect]'"
        )


def _write(log: EvalLog, folder: Path) -> int:
    from inspect_ai.log import write_eval_log

    # Inspect lists logs by names of this form: the time, the task and its id.
    words = (log.eval.created, log.eval.task, log.eval.task_id)
    name = "_".join(re.sub(r"[^\w.+-]|_", "-", word) for word in words)
    write_eval_log(log, folder / f"{name}.eval")
    return len(log.samples or ())


def _log(source: Source, draws: Draws) -> EvalLog:
    from inspect_ai.log import EvalLog, EvalPlan, EvalResults

    spec = _spec(source, draws)
    samples = [
        one
        for number, place in enumerate(draws.places, 1)
        for one in _samples(source, draws, spec, (number, place))
    ]
    count = len(samples)
    scores = _scores(source, draws, samples)
    return EvalLog(
        status="success",
        eval=spec,
        plan=EvalPlan(config=spec.model_generate_config),
        results=EvalResults(total_samples=count, completed_samples=count, scores=scores),
        samples=samples,
    )


def _spec(source: Source, draws: Draws) -> EvalSpec:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalSpec
    from inspect_ai.model import GenerateConfig

    first, suite = draws.first, draws.plan.suite
    decoding, manifest = first.decoding, source.manifest
    judges = draws.plan.matrix.judges
    task = fingerprint([manifest["config_hash"], draws.facts])
    return EvalSpec(
        run_id=manifest["config_hash"][:22],
        task_id=task[:22],
        eval_id=fingerprint([task, judges])[:22],
        created=draws.judged.isoformat(),
        task=f"{suite.name}-{first.set}",
        task_display_name=f"{suite.name}: {first.set}",
        task_version=suite.fingerprint[:16],
        task_args=draws.facts,
        tags=["safeft", first.recipe],
        dataset=EvalDataset(
            name=f"{suite.name}/{first.set}",
            samples=len(first.prompts),
            sample_ids=[one.id for one in first.prompts],
            shuffled=False,
        ),
        model=draws.model,
        model_generate_config=GenerateConfig(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
        ),
        config=EvalConfig(epochs=len(draws.places), epochs_reducer=["mode"]),
        scorers=[_scorer(judge) for judge in judges],
        revision=_revision(manifest["git"]),
        packages=manifest["versions"],
        metadata=_provenance(source, draws),
    )


def _scorer(judge: str) -> Facts:
    """How Inspect counts a judge's labels anew; its usual accuracy would take each word for 0."""
    counted = {"categories": [str(label) for label in Label]}
    return {
        "name": short(judge),
        "metrics": [{"name": "inspect_ai/frequency", "options": counted}],
    }


def _revision(git: str) -> EvalRevision | None:
    from inspect_ai.log import EvalRevision

    if git == "none":
        return None
    commit = git.removesuffix("-dirty")
    return EvalRevision(type="git", origin="", commit=commit, dirty=commit != git)


def _provenance(source: Source, draws: Draws) -> Facts:
    row, manifest = draws.row, source.manifest
    return {
        "base_model": row.model,
        "data": row.data,
        "engine": row.engine,
        "kind": draws.plan.suite.kinds[draws.first.set],
        "decoding_seeds": [one.decoding.seed for one in draws.places],
        "safeft": manifest["versions"].get("safeft"),
        "exported_by_safeft": versions().get("safeft"),
        "git": manifest["git"],
        "config_hash": manifest["config_hash"],
        "texts": source.texts,
    }


def _samples(
    source: Source, draws: Draws, spec: EvalSpec, draw: tuple[int, Place]
) -> Iterator[EvalSample]:
    """The answers under one decoding seed, which is one of Inspect's epochs."""
    from inspect_ai.log import EvalSample

    number, place = draw
    wanted = WANTED.get(draws.plan.suite.kinds[place.set], "")
    said = {short(judge): place.judged(judge) for judge in draws.plan.matrix.judges}
    answers = (
        place.responses("export without --texts") if source.texts else [None] * len(place.prompts)
    )
    for prompt, answer in zip(draws.prompts, answers, strict=True):
        verdicts = {name: one[prompt.id] for name, one in said.items()}
        words = _words(prompt, answer, spec.model) if answer else {"input": _left_out(prompt)}
        yield EvalSample(
            id=prompt.id,
            epoch=number,
            uuid=fingerprint([spec.eval_id, prompt.id, number])[:22],
            target=str(wanted),
            scores={name: _score(one) for name, one in verdicts.items()},
            metadata=draws.facts
            | {"category": prompt.category, "domain": prompt.domain}
            | _drawn(place, next(iter(verdicts.values()))),
            **words,
        )


def _drawn(place: Place, verdict: Facts) -> Facts:
    return {
        "decoding_seed": place.decoding.seed,
        "finish": verdict["finish"],
        "response_hash": verdict["response"],
    }


def _left_out(prompt: Prompt) -> str:
    """What stands for the words of a request: as much of their hash as of an answer's."""
    return f"(left out, sha256 {sha256(prompt.asked.encode()).hexdigest()[:16]})"


def _words(prompt: Prompt, answer: Response, model: str) -> dict[str, Any]:
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput

    said = ChatMessageAssistant(content=answer.text, source="generate", model=model)
    choice = ChatCompletionChoice(message=said, stop_reason=STOPS[answer.finish])
    turns = _turns(prompt)
    return {
        "input": prompt.asked if len(turns) == 1 else turns,
        "messages": [*turns, said],
        "output": ModelOutput(model=model, choices=[choice]),
    }


def _turns(prompt: Prompt) -> list[ChatMessage]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    turns = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    return [turns[one.role](content=one.content, source="input") for one in prompt.messages]


def _score(verdict: Facts) -> Score:
    from inspect_ai.scorer import Score

    reason = verdict.get("reason", "")
    unread = verdict["label"] == Label.UNREAD
    return Score(
        value=verdict["label"],
        reason="grader_failed" if unread else reason or None,  # Inspect's word for it
        metadata={"judge": verdict["judge"], "reason": reason, "scores": verdict["scores"]},
    )


def _scores(source: Source, draws: Draws, samples: list[EvalSample]) -> list[EvalScore]:
    """Each judge's metrics of the samples in this log."""
    from inspect_ai.log import EvalScore

    found = [(row, value) for row, value in draws.estimates() if isfinite(value.estimate)]
    scores = []
    for judge in draws.plan.matrix.judges:
        given = [one.scores[short(judge)] for one in samples if one.scores]
        unread = sum(one.value == Label.UNREAD for one in given)
        mine = [pair for pair in found if pair[0].judge == judge]
        scores.append(
            EvalScore(
                name=short(judge),
                scorer=short(judge),
                scored_samples=len(given) - unread,
                unscored_samples=unread,
                metrics={row.metric: _metric(source, draws, row, one) for row, one in mine},
                metadata={"judge": (given[0].metadata or {})["judge"]} if given else None,
            )
        )
    return scores


def _metric(source: Source, draws: Draws, row: Row, value: Estimate) -> EvalMetric:
    from inspect_ai.log import EvalMetric

    every = source.estimates.get(row)
    told = plain(asdict(value)) | {"level": draws.plan.matrix.level}
    if every:
        told["all_training_seeds"] = plain(asdict(every))
    return EvalMetric(name=row.metric, value=told.pop("estimate"), metadata=told)
