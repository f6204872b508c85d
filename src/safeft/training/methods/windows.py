"""What a guard says of each token of an answer, from what is said up to there.

The guard reads an answer again at every `every`-th token and at its end; the tokens between have
the value at the end of their window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from typing import Any

from safeft.data import Example
from safeft.errors import DataError
from safeft.judges import Judge
from safeft.records import Prompt, Response
from safeft.runs import fingerprint
from safeft.training.methods.guard import rated
from safeft.training.methods.reference import document_key, found_again
from safeft.training.methods.terms import Setup
from safeft.training.ranks import leader_first

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Trained tokens `first` to before `end` of a row, whose turn of that number began at `start`.

    The guard reads the turn from its start to `end`.
    """

    row: int
    turn: int
    start: int
    first: int
    end: int


class GuardScores:
    """P(safe) of each trained token, read once before training and kept in the run's folder.

    They are found again by a document's tokens, so that no packing or shuffling loses them.
    """

    def __init__(self, guard: Judge, every: int, setup: Setup) -> None:
        """Raises DataError for rows whose turns the guard could not be shown."""
        rows = enumerate(zip(setup.examples, setup.rows, strict=True))
        found = [
            window
            for number, (example, row) in rows
            for window in cut(number, turns(example, row.loss_mask, row.truncated), every)
        ]
        self._found = _by_document(setup, found, _read(setup, found, guard))

    def of(self, inputs: Any, mask: Any) -> Any:
        """(batch, length − 1), zero where `mask` of the same shape is false."""
        return found_again(self._found, inputs, mask)


def _read(setup: Setup, windows: Sequence[Window], guard: Judge) -> list[float]:
    """P(safe) of each window; what several rows say alike is read once."""
    keys = [_key(_said(setup, window)) for window in windows]
    first = dict(zip(reversed(keys), reversed(windows), strict=True))
    asked = list(dict.fromkeys(keys))
    path = setup.work / f"guard-{fingerprint([guard.name, asked])[:16]}.jsonl"
    with leader_first():
        safe = rated(path, guard, [first[key] for key in asked], partial(_said, setup))
    by_key = dict(zip(asked, safe, strict=True))
    return [by_key[key] for key in keys]


def _said(setup: Setup, window: Window) -> Response:
    """The conversation, and as much of the answer as stands before the window's end."""
    example, ids = setup.examples[window.row], setup.rows[window.row].ids
    said = setup.tokenizer.decode(ids[window.start : window.end], skip_special_tokens=True)
    prompt = Prompt(f"{window.row}/{window.end}", example.messages[: window.turn])
    # A character whose bytes are several tokens may not be whole yet.
    return Response(prompt, said.rstrip("\ufffd"))


def _by_document(setup: Setup, windows: Sequence[Window], safe: Sequence[float]) -> dict[str, Any]:
    """P(safe) of each token of a document but the first, which has no prediction."""
    import torch

    values = [torch.zeros(len(row.ids)) for row in setup.rows]
    for window, one in zip(windows, safe, strict=True):
        values[window.row][window.first : window.end] = one
    return {
        document_key(torch.tensor(row.ids), torch.tensor(row.loss_mask[1:])): value[1:]
        for row, value in zip(setup.rows, values, strict=True)
    }


def turns(example: Example, loss_mask: Sequence[bool], truncated: bool) -> list[tuple[int, Span]]:
    """The number of each assistant's turn, and where its trained tokens lie.

    Raises DataError for plain texts, and where tokens and turns do not match.
    """
    if example.text:
        raise DataError(
            f"star_dss: {example.place}: plain `text` has no request beside which a guard could "
            "read it; give chats"
        )
    numbers = [place for place, one in enumerate(example.messages) if one.role == "assistant"]
    found = _runs(loss_mask)
    if len(found) > len(numbers) or (len(found) < len(numbers) and not truncated):
        raise DataError(
            f"star_dss: {example.place}: {len(found)} stretches of trained tokens belong to "
            f"{len(numbers)} answers; give the answers as rows of their own"
        )
    return list(zip(numbers, found, strict=False))


def cut(row: int, found: Sequence[tuple[int, Span]], every: int) -> Iterator[Window]:
    """The windows of a row's turns."""
    for turn, (start, stop) in found:
        for first in range(start, stop, every):
            yield Window(row, turn, start, first, min(first + every, stop))


def _runs(mask: Sequence[bool]) -> list[Span]:
    """First and last-plus-one place of each stretch of true values."""
    stretches = groupby(range(len(mask)), mask.__getitem__)
    kept = [list(places) for trained, places in stretches if trained]
    return [(one[0], one[-1] + 1) for one in kept]


def _key(said: Response) -> str:
    """What a guard would be shown."""
    return fingerprint([[asdict(one) for one in said.prompt.messages], said.text])[:32]
