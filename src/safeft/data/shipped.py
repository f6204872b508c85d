"""Data sets that ship with safeft, by name."""

from __future__ import annotations

from pathlib import Path

from safeft.assets import folder


def shipped(name: str) -> str:
    """The path of a shipped set such as `garden`, or the name as it is when that is a path."""
    path = folder("recipes") / "data" / f"{name}.jsonl"
    return str(path) if path.is_file() and not Path(name).exists() else name
