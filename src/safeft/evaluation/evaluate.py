"""One model's evaluation: every set of the suite under every decoding, judged, on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from safeft.evaluation.ask import judged, respond
from safeft.evaluation.suites import Suite
from safeft.generation import Generator
from safeft.judges import Judge
from safeft.records import Decoding, Prompt, Response


@runtime_checkable
class Prefetching(Protocol):
    """A generator that answers prompts under several decodings at once, and keeps the answers."""

    def prefetch(self, asked: Sequence[tuple[Prompt, Decoding]]) -> None:
        """Answer all of them in one submission."""


def evaluate(
    generator: Callable[[], Generator],
    suite: Suite,
    decodings: Sequence[Decoding],
    judges: Mapping[str, Callable[[], Judge]],
    folder: Path,
    policy: str = "none",
) -> None:
    """Answer and judge the whole suite into `folder`/<suite>/<set>/<decoding>/.

    `policy` names the guard that `generator` wears; its files stand beside the unguarded ones.
    """
    todo = [
        (key, prompts, decoding)
        for key, prompts in suite.prompts.items()
        for decoding in decodings
        if not _finished(where(folder, suite, key, decoding), judges, policy)
    ]
    unasked = [
        (prompt, decoding)
        for key, prompts, decoding in todo
        if not (where(folder, suite, key, decoding) / response_file(policy)).is_file()
        for prompt in prompts
    ]
    if unasked and isinstance(engine := generator(), Prefetching):
        engine.prefetch(unasked)
    for key, prompts, decoding in todo:
        place = where(folder, suite, key, decoding)
        responses = respond(generator, prompts, decoding, place / response_file(policy))
        for name, judge in judges.items():
            judged(judge, responses, place / verdict_file(name, policy))


def where(folder: Path, suite: Suite, key: str, decoding: Decoding) -> Path:
    """The folder of one set under one decoding."""
    return folder / suite.name / key / decoding.name


def response_file(policy: str) -> str:
    """The file name of the answers behind a policy."""
    return f"responses.{short(policy)}.jsonl"


def verdict_file(judge: str, policy: str) -> str:
    """The file name of a judge's verdicts under a policy."""
    return f"verdicts.{short(judge)}.{short(policy)}.jsonl"


def short(name: str) -> str:
    """What a judge or policy is called in a file's name: a YAML's path by its last part alone."""
    return Path(name).name.removesuffix(".yaml")


def _finished(place: Path, judges: Mapping[str, Callable[[], Judge]], policy: str) -> bool:
    # Committed cells carry verdicts without responses: they count as finished.
    wanted = [place / verdict_file(name, policy) for name in judges]
    return bool(wanted) and all(path.is_file() for path in wanted)


def replay(responses: Sequence[Response], name: str, engine: str) -> Generator:
    """A generator that answers with what a model has answered before: a guard needs no more."""
    return _Replay({one.prompt.id: one for one in responses}, name, engine)


class _Replay:
    def __init__(self, known: Mapping[str, Response], name: str, engine: str) -> None:
        self.known = known
        self.name = name
        self.engine = engine

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        return [self.known[prompt.id] for prompt in prompts]
