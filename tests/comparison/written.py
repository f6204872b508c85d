"""Cells that are written here, a letter a prompt: nothing is trained or asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safeft.comparison.cells import Cell, Plan
from safeft.evaluation import verdict_file, where
from safeft.records import Decoding, Prompt

PROMPTS = tuple(Prompt.of(f"prompt {n}", str(n), str(1 + n % 2), "d") for n in range(6))
WORDS = {"f": "fulfilled", "r": "refused", "n": "neither", "u": "unread"}


def lines(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Writes a finished file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")


def judged(
    planned: Plan, cell: Cell, epoch: int, key: str, draw: Decoding, judge: str, said: str
) -> None:
    """One letter a prompt: fulfilled, refused, neither or unread."""
    place = where(cell.folder / f"epoch-{epoch}", planned.suite, key, draw)
    verdicts = [
        {"id": one.id, "label": WORDS[letter], "judge": judge, "scores": {}}
        | ({"reason": "repetitive"} if letter == "n" else {})
        for one, letter in zip(PROMPTS, said, strict=True)
    ]
    lines(place / verdict_file(judge, "none"), verdicts)
