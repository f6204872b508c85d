"""The stored answers of a finished run, for whoever reads them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from safeft.comparison.cells import Plan, plan
from safeft.comparison.matrix import Matrix
from safeft.comparison.rules import unfinished
from safeft.errors import RunError
from safeft.evaluation import read_verdicts, response_file, stored, verdict_file, where
from safeft.records import Decoding, Prompt, Response, Verdict
from safeft.runs import read_json, read_lines

NONE = "none"


@dataclass(frozen=True, slots=True)
class Place:
    """One file of answers: which cell gave them, to which prompts, behind which policy."""

    recipe: str
    seed: int
    epoch: int
    set: str
    decoding: Decoding
    policy: str
    folder: Path
    prompts: tuple[Prompt, ...]

    @property
    def name(self) -> str:
        """What it is, in one word."""
        where = f"{self.recipe}/{self.seed}/epoch-{self.epoch}/{self.set}/{self.decoding.name}"
        return f"{where}/{self.policy}"

    @property
    def answers(self) -> Path:
        """Where the texts are, unless they were pruned."""
        return self.folder / response_file(self.policy)

    def verdicts(self, judge: str) -> list[Verdict]:
        """What a judge said. Raises RunError when it was not asked."""
        path = self.folder / verdict_file(judge, self.policy)
        if not path.is_file():
            raise RunError(f"{path}: no such verdicts; safeft judge run RUN --judge {judge}")
        return read_verdicts(path, self.prompts)

    def judged(self, judge: str) -> Mapping[str, dict[str, Any]]:
        """What a judge said as it is stored, with the answer's hash and end, by the prompt's id.

        Raises RunError when it was not asked, StoredError when a prompt is missing.
        """
        self.verdicts(judge)
        path = self.folder / verdict_file(judge, self.policy)
        return {one["id"]: one for one in read_lines(path)}

    def responses(self, without: str) -> list[Response]:
        """The answers with their words, in the order of the prompts.

        Raises RunError when they are gone, which says what can or cannot be done `without` them.
        """
        if not self.answers.is_file():
            raise RunError(
                f"{self.answers}: the texts are gone (pruned, or never committed); {without}"
            )
        return stored(self.answers, self.prompts)


def open_stored(run: Path) -> Plan:
    """The plan of a finished run, from its manifest.

    Raises RunError when the folder holds no run, or one that is not finished or whose suite, data
    or model is no longer what it was.
    """
    manifest = run / "manifest.json"
    if not manifest.is_file():
        raise RunError(f"{run}: holds no run; give the --output of a comparison or evaluation")
    kept = read_json(manifest)
    config = kept.get("config", {})
    if "comparison" not in config:
        raise RunError(f"{run}: is no comparison or evaluation; give the --output of one")
    try:
        chosen = {key: kept[key] for key in ("correction",) if key in kept}
        matrix = Matrix.model_validate(config["comparison"] | chosen)
    except ValidationError as error:
        raise RunError(
            f"{manifest}: was written by another version of safeft, or by hand "
            f"({error.errors()[0]['msg']}); run its command again into another folder"
        ) from error
    planned = plan(matrix, run)
    if todo := unfinished(planned):
        raise RunError(
            f"{run}: {len(todo)} of {len(planned.cells)} cells are not finished, or its suite, "
            "data or model has changed; run its command again"
        )
    return planned


def places(planned: Plan) -> Iterator[Place]:
    """Every file of answers that the run has."""
    for cell in planned.cells:
        for ask in planned.asks(cell):
            for key, prompts in planned.suite.prompts.items():
                for decoding in ask.decodings:
                    folder = where(cell.folder / f"epoch-{ask.epoch}", planned.suite, key, decoding)
                    for policy in (NONE, *ask.policies):
                        known = (cell.name, cell.seed, ask.epoch, key, decoding, policy)
                        yield Place(*known, folder, prompts)
