"""Writes the four files of a report; a reader never sees half of one."""

from __future__ import annotations

from pathlib import Path

from safeft.report.document import Document
from safeft.report.estimates import estimates_json
from safeft.report.markdown import report_markdown
from safeft.report.page import report_html
from safeft.report.tables import estimates_csv

WRITERS = {
    "estimates.json": estimates_json,
    "report.csv": estimates_csv,
    "report.md": report_markdown,
    "report.html": report_html,
}


def write_report(document: Document, folder: Path) -> dict[str, Path]:
    """Writes estimates.json, report.csv, report.md and report.html; returns where each one is."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: _write(folder / name, render(document)) for name, render in WRITERS.items()}


def write_estimates(document: Document, path: Path) -> Path:
    """Writes estimates.json alone."""
    return _write(path, estimates_json(document))


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    return partial.replace(path)
