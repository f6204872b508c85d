"""Answers that were generated elsewhere, read from a file: any model can be judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from safeft.data.readers import read
from safeft.data.rows import SourceRow
from safeft.errors import DataError
from safeft.records import Decoding, Finish, Prompt, Response

FINISHES: tuple[Finish, ...] = ("stop", "length", "withheld")
Key = tuple[str, float, int]  # the prompt's id or text, temperature, decoding seed


class ImportedGenerator:
    """Replays a file (JSONL, JSON, CSV, Parquet) of one answer a row.

    `id` (`harm/17`: the suite's set and question id) or `prompt` (its text) says what was asked,
    `response` what came; `temperature` and `seed` default to 0, `finish` to `stop`.
    """

    engine = "imported"

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order.

        Raises DataError when the file cannot be read, answers a prompt twice, or not at all.
        """
        return [self._find(one, decoding) for one in prompts]

    def _find(self, prompt: Prompt, decoding: Decoding) -> Response:
        seed = decoding.seed if decoding.temperature > 0 else 0
        for name in (prompt.id, prompt.id.partition("/")[2], prompt.text):
            row = self._rows.get((name, decoding.temperature, seed))
            if row is not None:
                return Response(prompt, _text(row, "response"), _finish(row))
        raise DataError(
            f"{self.path}: no answer to {prompt.id!r} at temperature {decoding.temperature:g}, "
            f"seed {seed}; add a row with that id (or the prompt's text), or ask for what it holds"
        )

    @cached_property
    def _rows(self) -> Mapping[Key, SourceRow]:
        found: dict[Key, SourceRow] = {}
        for row in read(self.path, str(self.path)):
            key = (_asked(row), _number(row, "temperature"), int(_number(row, "seed")))
            if key in found:
                raise DataError(
                    f"{row.place}: answers {key[0]!r} again ({found[key].place} does, at the same "
                    "temperature and seed); give the draws seeds of their own"
                )
            found[key] = row
        return found


def _asked(row: SourceRow) -> str:
    for column in ("id", "prompt"):
        if row.values.get(column) is not None:
            return str(row.values[column])
    raise DataError(f"{row.place}: neither id nor prompt says what was asked; add one of them")


def _text(row: SourceRow, column: str) -> str:
    value = row.values.get(column)
    if not isinstance(value, str):
        raise DataError(f"{row.place}: {column} should be text, found {type(value).__name__}")
    return value


def _number(row: SourceRow, column: str) -> float:
    value = row.values.get(column)
    try:
        number = float(value if value not in (None, "") else 0)
    except (TypeError, ValueError) as error:
        raise DataError(f"{row.place}: {column} should be a number, found {value!r}") from error
    return 0.0 if math.isnan(number) else number  # how a table writes what is missing


def _finish(row: SourceRow) -> Finish:
    value = row.values.get("finish") or "stop"
    if value not in FINISHES:
        known = ", ".join(FINISHES)
        raise DataError(f"{row.place}: finish should be one of {known}, found {value!r}")
    return next(one for one in FINISHES if one == value)
