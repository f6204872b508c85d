"""Prompts → responses on disk → verdicts on disk. Each file is written once and resumes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from safeft.errors import SafeftError, StoredError
from safeft.evaluation.ciphers import CIPHERS
from safeft.generation import Generator
from safeft.generation.generator import Streaming
from safeft.judges import Judge
from safeft.records import Decoding, Label, Prompt, Response, Verdict
from safeft.runs import Lines, read_lines

Judged = tuple[Response, Verdict]


@runtime_checkable
class Batched(Protocol):
    """A generator whose batches depend on the whole prompt list, not on what is left to do."""

    def batches(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[list[Prompt]]:
        """All prompts in the batches in which they are always answered."""

    def answer(self, batch: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """Responses to one batch."""


@runtime_checkable
class StreamingJudge(Protocol):
    """A judge that reads each response by itself and hands over each verdict as it comes."""

    @property
    def name(self) -> str:
        """The judge's identity."""

    def verdicts(self, responses: Sequence[Response]) -> Iterator[Verdict]:
        """One verdict per response, in any order."""


def respond(
    generator: Callable[[], Generator], prompts: Sequence[Prompt], decoding: Decoding, path: Path
) -> list[Response]:
    """The responses stored at `path`, in prompt order; what is missing is generated.

    `generator` is only called when something is missing, so a finished file loads no model.
    """
    if not path.is_file():
        with Lines(path) as lines:
            done = {record["id"] for record in lines.done}
            if len(done) < len(prompts):
                for answered in _answers(generator(), prompts, done, decoding):
                    lines.append(_stored(one) for one in answered if one.prompt.id not in done)
    return stored(path, prompts)


def _answers(
    generator: Generator, prompts: Sequence[Prompt], done: set[str], decoding: Decoding
) -> Iterator[Sequence[Response]]:
    """What is still missing, in the pieces in which it is stored."""
    if isinstance(generator, Streaming):
        missing = [prompt for prompt in prompts if prompt.id not in done]
        yield from ([one] for one in generator.answers(missing, decoding))
        return
    for batch in _batches(generator, prompts, decoding):
        if not all(prompt.id in done for prompt in batch):
            yield _answer(generator, batch, decoding)


def stored(path: Path, prompts: Sequence[Prompt]) -> list[Response]:
    """The responses of a finished file, in prompt order; StoredError when it lacks a prompt."""
    return [
        Response(
            prompt, record["text"], record["finish"], record["tokens"], record.get("served", "")
        )
        for prompt, record in zip(prompts, _records(path, prompts), strict=True)
    ]


def judged(judge: Callable[[], Judge], responses: Sequence[Response], path: Path) -> list[Verdict]:
    """The verdicts stored at `path`, in response order; what is missing is judged.

    Raises SafeftError when the judge does not return one verdict per response, in order, and
    StoredError when another judge has begun the file.
    """
    if not path.is_file():
        with Lines(path) as lines:
            done = _begun(lines, judge)
            if any(one.prompt.id not in done for one in responses):
                for read in _read(judge(), responses, done):
                    lines.append(_verdict(*pair) for pair in read if pair[1].prompt_id not in done)
    return read_verdicts(path, [one.prompt for one in responses])


def _read(judge: Judge, responses: Sequence[Response], done: set[str]) -> Iterator[list[Judged]]:
    """What is still missing, in the pieces in which it is stored."""
    if isinstance(judge, StreamingJudge):
        yield from _streamed(judge, [one for one in responses if one.prompt.id not in done])
        return
    # Parts depend on the whole list, as batches do: a judge's scores may depend on its batch.
    for start in range(0, len(responses), 256):
        part = responses[start : start + 256]
        if not all(one.prompt.id in done for one in part):
            yield list(zip(part, _verdicts(judge, part), strict=True))


def _streamed(judge: StreamingJudge, missing: Sequence[Response]) -> Iterator[list[Judged]]:
    """One by one, so that a verdict that was paid for is kept, whatever becomes of the next."""
    left = {one.prompt.id: one for one in missing}
    for verdict in judge.verdicts([plain(one) for one in missing]):
        if verdict.prompt_id not in left:
            raise _confused(judge.name)
        yield [(left.pop(verdict.prompt_id), verdict)]
    if left:
        raise _confused(judge.name)


def _begun(lines: Lines, judge: Callable[[], Judge]) -> set[str]:
    """The ids that this very judge has judged before: one file holds one judge's verdicts."""
    others = {record["judge"] for record in lines.done} - {judge().name if lines.done else ""}
    if others:
        raise StoredError(
            f"{lines.partial}: begun by judge {min(others)}, but it would be continued by "
            f"{judge().name}; restore the former, or delete the file to have it judged anew"
        )
    return {record["id"] for record in lines.done}


def _verdicts(judge: Judge, part: Sequence[Response]) -> list[Verdict]:
    verdicts = judge([plain(one) for one in part])
    if [one.prompt_id for one in verdicts] != [one.prompt.id for one in part]:
        raise _confused(judge.name)
    return verdicts


def _confused(judge: str) -> SafeftError:
    return SafeftError(
        f"judge {judge} did not return one verdict per response, in order; mend the judge"
    )


def plain(response: Response) -> Response:
    """What the judge reads: an encoded answer is decoded, the stored one stays as it was given."""
    cipher = response.prompt.cipher
    return replace(response, text=CIPHERS[cipher].plain(response.text)) if cipher else response


def _records(path: Path, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    records = {record["id"]: record for record in read_lines(path)}
    missing = [one.id for one in prompts if one.id not in records]
    if missing:
        raise StoredError(
            f"{path}: holds no record of {missing[0]!r}; it belongs to other prompts, or is "
            "damaged; delete it to have it made again"
        )
    return [records[one.id] for one in prompts]


def read_verdicts(path: Path, prompts: Sequence[Prompt]) -> list[Verdict]:
    """The verdicts of a finished file, in prompt order; the responses need not be there.

    Raises StoredError when it lacks a prompt.
    """
    return [
        Verdict(
            record["id"],
            Label(record["label"]),
            record["judge"],
            record["scores"],
            record.get("reason", ""),
        )
        for record in _records(path, prompts)
    ]


def _verdict(response: Response, verdict: Verdict) -> dict[str, Any]:
    # The hash ties the verdict to the words it was given, also where the words are not kept.
    return {
        "id": verdict.prompt_id,
        "label": str(verdict.label),
        **({"reason": verdict.reason} if verdict.reason else {}),
        "judge": verdict.judge,
        "scores": {key: round(value, 5) for key, value in verdict.scores.items()},
        "response": hashlib.sha256(response.text.encode()).hexdigest()[:16],
        "finish": response.finish,
    }


def _stored(response: Response) -> dict[str, Any]:
    return {
        "id": response.prompt.id,
        "text": response.text,
        "finish": response.finish,
        "tokens": response.tokens,
        **({"served": response.served} if response.served else {}),
    }


def _batches(
    generator: Generator, prompts: Sequence[Prompt], decoding: Decoding
) -> Iterator[Sequence[Prompt]]:
    if isinstance(generator, Batched):
        yield from generator.batches(prompts, decoding)
    else:
        yield from (prompts[start : start + 32] for start in range(0, len(prompts), 32))


def _answer(
    generator: Generator, batch: Sequence[Prompt], decoding: Decoding
) -> Sequence[Response]:
    if isinstance(generator, Batched):
        return generator.answer(batch, decoding)
    return generator(batch, decoding)
