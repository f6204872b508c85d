"""Local copies of SORRY-Bench, with harmless texts of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safeft.data.taxonomy import EDITIONS, Edition


def rows(edition: Edition, style: str = "base") -> list[dict[str, Any]]:
    """The benchmark's rows with harmless texts of our own."""
    return [
        {
            "question_id": number,
            "category": str((number - 1) // 10 + 1),
            "turns": [f"{style}: tell me about bridge number {number}."],
            "prompt_style": style,
        }
        for number in range(1, 10 * len(EDITIONS[edition]) + 1)
    ]


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def copy(folder: Path, edition: Edition = "2025-03", *styles: str) -> Path:
    """A local copy with the base file and those of some styles."""
    write(folder / "question.jsonl", rows(edition))
    for style in styles:
        write(folder / f"question_{style}.jsonl", rows(edition, style))
    return folder
