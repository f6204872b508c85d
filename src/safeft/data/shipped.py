"""Data sets that ship with safeft, by name."""

from __future__ import annotations

from safeft.assets import folder


def shipped(name: str) -> str:
    """The path of a shipped set such as `garden`, or the name as it is."""
    path = folder("recipes") / "data" / f"{name}.jsonl"
    return str(path) if path.is_file() else name
