"""Writes the four files of a report; a reader never sees half of one."""

from __future__ import annotations

from pathlib import Path

from safeft.report.document import Document
from safeft.report.estimates import estimates_json
from safeft.report.markdown import report_markdown
from safeft.report.page import report_html
from safeft.report.tables import estimates_csv
from safeft.runs import write_text

WRITERS = {
    "estimates.json": estimates_json,
    "report.csv": estimates_csv,
    "report.md": report_markdown,
    "report.html": report_html,
}


def write_report(document: Document, folder: Path) -> dict[str, Path]:
    """Writes estimates.json, report.csv, report.md and report.html; returns where each one is."""
    for name, render in WRITERS.items():
        write_text(folder / name, render(document))
    return {name: folder / name for name in WRITERS}
