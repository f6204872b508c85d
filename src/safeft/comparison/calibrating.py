"""`safeft guard calibrate`: benign prompts, asked and read on disk, then a policy set or tested."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from safeft.data import Example
from safeft.errors import ConfigError, RunError
from safeft.evaluation import respond
from safeft.evaluation.evaluate import response_file
from safeft.generation import Generator
from safeft.generation.endpoint import EndpointGenerator
from safeft.generation.imported import ImportedGenerator
from safeft.generation.schema import AUTO, TRANSFORMERS, VLLM, Engine, installed, is_url
from safeft.generation.transformers import TransformersGenerator
from safeft.generation.vllm import VllmEngine, VllmGenerator, rank_of, unservable
from safeft.guarding import Policy, load_policy
from safeft.guarding.calibration import (
    Calibration,
    Verification,
    calibrate,
    read_calibration,
    refuse_idle,
    verify,
    write,
)
from safeft.guarding.checker import Checker
from safeft.guarding.loading import checker
from safeft.guarding.policy import STAGES
from safeft.guarding.readings import Reading, exercised, read
from safeft.guarding.states import attach, state_judges
from safeft.models import load_model, load_tokenizer
from safeft.models.load import check_tuned
from safeft.records import Decoding, Message, Prompt, Response
from safeft.runs import Lines, fingerprint, locked, open_run, read_lines
from safeft.stats.tolerance import order_statistic
from safeft.training import folder_identity, model_identity

AT_ONCE = 32  # answers that are judged between two writes


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose answers are read: a model's, or `responses` that were stored elsewhere."""

    model: str = ""
    adapter: str = ""
    engine: str = "auto"
    responses: Path | None = None
    batch_size: int = 48
    trust_remote_code: bool = False

    def check(self) -> None:
        """Raises ConfigError or ModelError for what can be refused before anything is loaded."""
        if self.responses is not None:
            if not self.responses.is_file():
                raise ConfigError(f"--responses: {self.responses}: no such file")
            return
        try:
            installed(TypeAdapter(Engine).validate_python(self.engine))
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(f"--engine: {said}") from error
        if not self.model:
            raise ConfigError("--model: give the model that answers, or its stored --responses")
        if self.adapter and is_url(self.engine):
            raise ConfigError("--adapter: an endpoint serves what it serves; leave it out")
        if self.adapter:
            check_tuned(Path(self.adapter))

    @property
    def name(self) -> str:
        """What the answers are called in the record."""
        stored = self.responses.name if self.responses else ""
        return (self.model or stored) + (f" with {self.adapter}" if self.adapter else "")

    @property
    def runs_on(self) -> str:
        """What runs the model."""
        usual = TRANSFORMERS if self.engine == AUTO else self.engine
        return "imported" if self.responses else usual

    def weights(self) -> list[str]:
        """What decides the answers: the weights and not their paths, or where they come from."""
        if self.responses is not None:
            return [hashlib.sha256(self.responses.read_bytes()).hexdigest()]
        if is_url(self.engine):
            return [f"{self.model} at {self.engine}"]
        added = [folder_identity(Path(self.adapter))] if self.adapter else []
        return [model_identity(self.model), *added]

    def generator(self) -> Generator:
        """What answers. Raises ConfigError for an adapter that vLLM cannot serve."""
        if self.responses is not None:
            return ImportedGenerator(self.responses, self.name)
        if is_url(self.engine):
            return EndpointGenerator(self.engine, self.model)
        if self.engine != VLLM:
            return TransformersGenerator(*self.loaded(), self.name, self.batch_size)
        adapters, trust = self._adapters, self.trust_remote_code
        for adapter in adapters:
            if reason := unservable(adapter):
                raise ConfigError(
                    f"--adapter: vLLM cannot serve it beside the model ({reason}); merge it with "
                    "safeft export, and give what that writes as --model"
                )
        engine = VllmEngine(self.model, map(rank_of, adapters), trust_remote_code=trust)
        return VllmGenerator(engine, *adapters)

    @property
    def here(self) -> bool:
        """Whether the model can be loaded into this process, by its name."""
        return self.responses is None and not is_url(self.engine)

    def loaded(self) -> tuple[Any, Any]:
        """The model and its tokenizer, by Transformers. Raises ModelError."""
        trust = self.trust_remote_code
        weights = load_model(self.model, adapters=self._adapters, trust_remote_code=trust)
        tokenizer = load_tokenizer(self.model, adapters=self._adapters, trust_remote_code=trust)
        return weights, tokenizer

    @property
    def _adapters(self) -> list[Path]:
        return [Path(self.adapter)] if self.adapter else []


@dataclass(frozen=True, slots=True)
class Draw:
    """Prompts that were drawn, `repeated` others that said the same, and who answers them how."""

    asked: Asked
    prompts: tuple[Prompt, ...]
    repeated: int
    decoding: Decoding

    @classmethod
    def of(cls, asked: Asked, rows: Sequence[Example], decoding: Decoding) -> Draw:
        """The prompts of a set's rows, each once: a repeated one is no draw of its own.

        A prompt is called `benign/` and its row's place, from 1; a row of plain text is a prompt.
        """
        found: dict[tuple[tuple[str, str], ...], Prompt] = {}
        for number, row in enumerate(rows, 1):
            turns = row.messages[:-1] or (Message("user", row.text),)
            said = tuple((one.role, " ".join(one.content.split())) for one in turns)
            found.setdefault(said, Prompt(f"benign/{number}", turns))
        return cls(asked, tuple(found.values()), len(rows) - len(found), decoding)

    def origin(self) -> dict[str, Any]:
        """What two commands must have in common to share answers; it hashes the weights."""
        return {
            "weights": self.asked.weights(),
            "engine": self.asked.runs_on,
            "decoding": asdict(self.decoding),
            "prompts": fingerprint([[one.id, *map(asdict, one.messages)] for one in self.prompts]),
        }


def calibrate_policy(
    policy: str, output: Path, draw: Draw, alpha: float, confidence: float
) -> Calibration:
    """Ask, read, and write the calibrated policy to `output`, its record beside it.

    Answers and readings are kept in a folder beside it, where a killed call goes on. What can be
    refused is refused before the first answer: raises ConfigError, DataError with the number of
    prompts that is needed, ModelError, and RunError when `output` is another's.
    """
    draw.asked.check()
    given, work = load_policy(policy), output.with_suffix(".work")
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--output: {output}: a policy is a YAML; end its name with .yaml")
    if output.exists() and not (work / "manifest.json").is_file():
        raise RunError(f"{output} is there already; choose another --output")
    refuse_idle(given)
    order_statistic(len(draw.prompts), alpha, confidence)
    check, answers = checker(given), draw.origin()
    readings = readings_of(check, draw, answers, work)
    origin = {
        "policy": given.name,
        "policy_hash": fingerprint(given.model_dump(mode="json")),
        "model": draw.asked.name,
        **answers,
        "repeated": draw.repeated,
        "reading": _reading(check),
    }
    found = calibrate(given, readings, alpha, confidence, origin)
    found = replace(found, policy=found.policy.model_copy(update={"name": output.stem}))
    write(found, output, list(_header(found)))
    return found


def verify_policy(path: Path, draw: Draw) -> tuple[Verification, list[str]]:
    """New answers under a calibrated policy, and what differs from when it was calibrated.

    They are asked for anew each time, and not kept: an endpoint may answer otherwise tomorrow.
    Raises ConfigError when nobody knows what was promised, and as `calibrate_policy` does.
    """
    draw.asked.check()
    known, policy, work = read_calibration(path), load_policy(path), path.with_suffix(".verify")
    check, answers = checker(policy), draw.origin()
    found = verify(known, readings_of(check, draw, answers, work), policy)
    notes = list(_notes(known, policy, answers | {"reading": _reading(check)}))
    shutil.rmtree(work)
    return found, notes


def readings_of(
    check: Checker, draw: Draw, answers: Mapping[str, Any], work: Path
) -> list[Reading]:
    """The readings kept in a folder, in prompt order; what is missing is asked for and read.

    `answers` is the draw's origin. Raises RunError when the folder holds another draw.
    """
    name = f"readings.{fingerprint(_reading(check))[:8]}.jsonl"
    with locked(work):
        open_run(work, {"answers": answers})
        responses = [Response(one, "") for one in draw.prompts]
        if check.policy.output is not None:
            stored = work / response_file("none")
            responses = respond(draw.asked.generator, draw.prompts, draw.decoding, stored)
        if state_judges(check) and draw.asked.here:
            attach(check, *draw.asked.loaded())  # a probe reads the very model that is guarded
        return _read(check, responses, work / name)


def _read(check: Checker, responses: Sequence[Response], path: Path) -> list[Reading]:
    if not path.is_file():
        with Lines(path) as lines:
            done = {record["id"] for record in lines.done}
            for start in range(0, len(responses), AT_ONCE):
                # Parts depend on the whole list: a judge's scores may depend on its batch.
                part = responses[start : start + AT_ONCE]
                if not all(one.prompt.id in done for one in part):
                    lines.append(asdict(one) for one in read(check, part) if one.id not in done)
    found = {record["id"]: record for record in read_lines(path)}
    return [
        Reading(
            one.prompt.id, found[one.prompt.id]["scores"], tuple(found[one.prompt.id]["unread"])
        )
        for one in responses
    ]


def _reading(check: Checker) -> dict[str, Any]:
    """What decides the readings: everything of the policy but what it does about them."""
    stages, policy = exercised(check.policy), check.policy
    free = {"threshold", "action", "categories", "timeout", "regenerate"}
    said = {"name", "refusal", "redaction", "streaming", *STAGES}
    return {
        "judges": {name: check.judges[name].name for name in stages},
        "seconds": {name: one.name for name, one in check.seconds.items() if name in stages},
        "stages": {name: one.model_dump(mode="json", exclude=free) for name, one in stages.items()},
        **policy.model_dump(mode="json", exclude=said),
    }


def _header(found: Calibration) -> Iterator[str]:
    origin, alpha = found.origin, f"{100 * found.alpha:g} %"
    yield f"Calibrated by `safeft guard calibrate` from the policy {origin['policy']}"
    yield f"(sha256 {origin['policy_hash'][:16]}): thresholds moved by {found.shift:+.4f} logits."
    yield f"Of answers like these it withholds at most {alpha}, with {100 * found.confidence:g} %"
    yield f"confidence; of these n={found.n} it withholds {found.withheld} ({found.unread} unread)."
    yield f"Model: {origin['model']} (sha256 {fingerprint(origin['weights'])[:16]})"
    yield f"Prompts: sha256 {origin['prompts'][:16]}, {origin['repeated']} repeated ones left out"
    yield f"Judges: {', '.join(f'{k} {v}' for k, v in origin['reading']['judges'].items())}"
    yield "The promise is for these thresholds, windows and judges; change one and calibrate again."


def _notes(known: Calibration, policy: Policy, origin: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of a verification must know."""
    if policy != known.policy:
        yield "the policy was changed after its calibration: this tests it as it is now"
    stored = origin["engine"] == "imported"  # where each file of answers is another
    for key in ("engine", "decoding", "reading", *(() if stored else ("weights",))):
        if fingerprint(known.origin.get(key)) != fingerprint(origin[key]):
            yield f"{key}: not as it was when the policy was calibrated"
    if known.origin.get("prompts") == origin["prompts"]:
        yield "these are the prompts of the calibration, so this is no fresh draw"
