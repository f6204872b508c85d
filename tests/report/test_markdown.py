"""report.md: no number without its interval and n, and names that stay names."""

from __future__ import annotations

import re
from dataclasses import replace

from safeft.records import Row
from safeft.report import Document, report_markdown
from safeft.report.markdown import escape

# A rate, loss or time, then an interval or the word for none, then n.
WHOLE = re.compile(
    r"^[+-]?[0-9.]+(%| pp)? (\[-?[0-9.]+, -?[0-9.]+\]|no interval).* n=[0-9]+(\u00d7[0-9]+| runs)"
)
NAMED = {"recipe", "epoch", "domain", "category", "guardrail", "suite", "source", "metric"}
WORDS = {"reference", "reading", "what", "value"}


def tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, the heading first and the rule left out."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("| "):
            found[-1].append(re.split(r"(?<!\\) \| ", line[2:-2]))
        elif found[-1]:
            found.append([])
    return [[table[0], *table[2:]] for table in found if table]


def test_every_number_carries_interval_and_n(document: Document) -> None:
    """The law of the report: a bare number is never printed."""
    checked = 0
    for heading, *rows in tables(report_markdown(document)):
        for row in rows:
            for name, cell in zip(heading, row, strict=True):
                if name in NAMED | WORDS or cell in ("n/a", "reference"):
                    continue
                assert WHOLE.match(cell), (name, cell)
                checked += 1
    assert checked > 100


def test_every_section_is_there(document: Document) -> None:
    """From the verdict to where it came from."""
    titles = re.findall(r"^## (.*)$", report_markdown(document), re.MULTILINE)
    assert titles == [
        "Verdict",
        "Notes",
        "Comparisons",
        "By epoch",
        "By domain",
        "By category",
        "Guardrail off and on",
        "Validity",
        "Variance",
        "Provenance",
    ]


def test_the_command_can_be_copied(document: Document) -> None:
    """It is a code block, not a table cell."""
    assert "\n    safeft compare recipes/ --seeds 5\n" in report_markdown(document)


def test_did_not_learn(document: Document) -> None:
    """The label stands beside the recipe."""
    text = report_markdown(document)
    assert text.count("frozen (did not learn)") == text.count("frozen")


def test_no_lost_number_is_printed(document: Document) -> None:
    """nan and inf are not words of a report."""
    assert not re.search(r"\b(nan|inf|None)\b", report_markdown(document))


def test_names_open_nothing(document: Document) -> None:
    """A recipe's name cannot open a tag, a cell, a line or a link."""
    name = "a|b\n<script>[x](javascript:1)"
    rows = tuple(replace(e, row=renamed(e.row, name)) for e in document.estimates)
    text = report_markdown(replace(document, estimates=rows))
    assert "<script" not in text
    assert "](" not in text
    for heading, *lines in tables(text):
        assert {len(line) for line in lines} == {len(heading)}


def renamed(row: Row, name: str) -> Row:
    """The row with another recipe's name in place of naive."""
    return replace(row, recipe=name) if row.recipe == "naive" else row


def test_escaping_keeps_the_text_readable() -> None:
    """Signs that open nothing are left as they are."""
    assert escape("p<0.001 [1, 2]") == "p<0.001 [1, 2]"
    assert escape("a\\|b & *c*") == "a\\\\\\|b &amp; \\*c\\*"


def test_an_empty_document_is_a_title() -> None:
    """No tables without rows."""
    assert report_markdown(Document("empty")) == "# empty\n"
