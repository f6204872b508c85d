"""CSV, the terminal, and the four files together."""

from __future__ import annotations

import ast
import csv
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from safeft.report import (
    Document,
    estimates_csv,
    headline_table,
    print_headline,
    report_markdown,
    write_report,
)
from safeft.report import __file__ as package

FILES = ["estimates.json", "report.csv", "report.html", "report.md"]


def printed(document: Document, width: int) -> str:
    """What a terminal of this width shows."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_headline(document, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_csv_has_a_line_per_estimate(document: Document) -> None:
    """With the documented keys, the label, and empty cells for lost numbers."""
    lines = list(csv.DictReader(io.StringIO(estimates_csv(document))))
    assert len(lines) == len(document.estimates)
    assert list(lines[0]) == ["label", *document.estimates[0].flat()]
    assert {line["label"] for line in lines if line["recipe"] == "frozen"} == {"did not learn"}
    lost = [
        line for line in lines if line["metric"] == "train_seconds" and line["recipe"] == "base"
    ]
    assert {line["estimate"] for line in lost} == {""}


def test_csv_numbers_lose_nothing(document: Document) -> None:
    """A spreadsheet gets the estimate itself, not its print."""
    lines = csv.DictReader(io.StringIO(estimates_csv(document)))
    for line, entry in zip(lines, document.estimates, strict=True):
        assert line["estimate"] == "" or float(line["estimate"]) == entry.value.estimate


def test_a_wide_terminal_shows_everything(document: Document) -> None:
    """Every column, the notes, and that a recipe did not learn."""
    text = printed(document, 260)
    for word in ("ROUGE-L", "train s", "(did not learn)", "[47.0, 63.0]", "n=440\u00d75", "note:"):
        assert word in text
    assert "more columns" not in text


def test_a_narrow_terminal_shows_whole_columns(document: Document) -> None:
    """Numbers are never broken; what does not fit is said to be elsewhere."""
    text = printed(document, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "[47.0, 63.0]" in text
    assert "more columns" in text
    assert "ROUGE-L" not in text


def test_names_are_no_terminal_markup(document: Document) -> None:
    """Square brackets in a recipe's name are printed."""
    rows = tuple(replace(e, row=replace(e.row, recipe="[red]x")) for e in document.estimates)
    assert "[red]x" in printed(replace(document, estimates=rows), 200)


def test_an_empty_document_prints() -> None:
    """A headline without lines is no error."""
    assert headline_table(Document("empty")).row_count == 0


def test_four_files(document: Document, tmp_path: Path) -> None:
    """Written into a folder that need not exist, with nothing left over."""
    folder = tmp_path / "runs" / "demo"
    written = write_report(document, folder)
    assert sorted(written) == FILES == sorted(path.name for path in folder.iterdir())
    assert written["report.md"].read_text(encoding="utf-8") == report_markdown(document)
    for path in written.values():
        assert "did not learn" in path.read_text(encoding="utf-8")


def test_a_report_replaces_the_one_before(document: Document, tmp_path: Path) -> None:
    """Reporting again is no error."""
    write_report(document, tmp_path)
    written = write_report(replace(document, title="again"), tmp_path)
    assert written["report.md"].read_text(encoding="utf-8").startswith("# again\n")


def test_a_reader_never_sees_half_a_file(
    document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a file is whole the old one stands."""
    old = write_report(document, tmp_path)["estimates.json"].read_bytes()

    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_report(replace(document, title="again"), tmp_path)
    assert (tmp_path / "estimates.json").read_bytes() == old


def test_importing_needs_no_extra() -> None:
    """Jinja2 and Matplotlib are imported when a page is made, torch never."""
    code = (
        "import sys, safeft.report; "
        "print([m for m in ('jinja2', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_report_knows_none_of_its_neighbours() -> None:
    """It imports records, errors, stats and runs, and itself."""
    below = ("safeft.records", "safeft.errors", "safeft.stats", "safeft.runs")
    allowed = ("safeft.report", *below)
    for path in Path(package).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("safeft"):
                assert (node.module or "").startswith(allowed), path.name


def test_the_terminal_keeps_refusals_apart(refusals_too: Document) -> None:
    """The table is the fulfilment judge's, and says where the other's stands."""
    text = printed(refusals_too, 260)
    assert "not refused" not in text
    assert "Judge keyword: see report.md." in " ".join(text.split())
    assert "(bounds 45.0 to 41.0)" in text
