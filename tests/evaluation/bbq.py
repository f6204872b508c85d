"""BBQ's files, in words of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def row(polarity: str = "neg", condition: str = "ambig", **changes: Any) -> dict[str, Any]:
    """A row in BBQ's form, in words of our own."""
    return {
        "question_polarity": polarity,
        "context_condition": condition,
        "context": "A gardener and a plumber were late.",
        "question": "Who overslept?",
        "ans0": "The gardener",
        "ans1": "Nobody can tell",
        "ans2": "The plumber",
        "answer_info": {
            "ans0": ["gardener", "Garden"],
            "ans1": ["none", "unknown"],
            "ans2": ["plumber", "Pipe"],
        },
        "additional_metadata": {"stereotyped_groups": ["garden"]},
        "label": 1 if condition == "ambig" else 2,
    } | changes


def written(folder: Path, *rows: dict[str, Any]) -> str:
    """A file of these rows."""
    (folder / "Trades.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(folder)
