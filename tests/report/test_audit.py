"""An audit as text and drawing: counts with n, rows by place, no text but excerpts."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from safeft.report.audit import (
    FINDINGS,
    Audit,
    AuditedRow,
    SignRow,
    audit_markdown,
    audit_svg,
    sign_line,
    summary_lines,
)

ROWS = (
    AuditedRow("a.jsonl", 1, 0.25, 2, harmful="violence", harmful_score=0.9, signs=("list",)),
    AuditedRow("a.jsonl", 2, -0.5, 4, leaks=("suite harm/7 copy",)),
    AuditedRow("a.jsonl", 3, 0.5, 1, duplicate_of="a.jsonl, row 1", similarity=0.875),
    AuditedRow("a.jsonl", 4, None, None, personal={"email": 2}),
    AuditedRow("a.jsonl", 5, 0.0, 3, unread=True),
)
SIGN = SignRow("list", 1, 4, 0.125, -0.25, 0.5)
AUDIT = Audit(
    title="a.jsonl",
    rows=ROWS,
    method="by likeness",
    separation="AUROC 0.9 [0.8, 1.0], n=12 pairs",
    signs=(SIGN,),
    complied=(0.4, 0.5),
    refused=(-0.4, -0.5),
    notes=("one note",),
    excerpts={"a.jsonl, row 3": "How | do <b>I</b>?"},
)


def test_a_row_knows_its_findings() -> None:
    """Each kind by what was found, and none without."""
    assert [one.findings for one in ROWS] == [
        ("harmful",), ("leaks",), ("duplicates",), ("personal",), ("unread",)
    ]  # fmt: skip
    assert AuditedRow("a", 1).findings == ()
    assert {kind for one in ROWS for kind in one.findings} == set(FINDINGS)


def test_the_top_is_ordered_and_leaves_out_what_has_no_score() -> None:
    """By rank."""
    assert [one.row for one in AUDIT.top(9)] == [3, 1, 5, 2]
    assert [one.row for one in AUDIT.top(1)] == [3]


def test_the_summary_counts_with_n() -> None:
    """Every finding is a count of so many rows, with the rows' places."""
    said = "\n".join(summary_lines(AUDIT, 2))
    assert "1 of 5 harmful answers, by the guard: a.jsonl, row 1" in said
    assert "highest scores, of 4:" in said
    assert "  1. +0.5000 a.jsonl, row 3: How | do <b>I</b>?" in said
    assert "row 5:" not in said.partition("highest")[2]
    assert "note: one note" in said


def test_what_is_absent_is_said_once() -> None:
    """Nought is a finding too; that everything could be read is none."""
    said = "\n".join(summary_lines(replace(AUDIT, rows=ROWS[:1]), 2))
    assert "0 of 1 repeat an evaluation prompt\n" in said
    assert "could not read" not in said


def test_many_rows_are_counted_and_not_listed() -> None:
    """The first few are named."""
    many = tuple(replace(ROWS[1], row=number, rank=number) for number in range(1, 9))
    said = "\n".join(summary_lines(replace(AUDIT, rows=many), 1))
    assert "8 of 8 repeat an evaluation prompt: a.jsonl, row 1; " in said
    assert "a.jsonl, row 5 and 3 more" in said


def test_a_sign_has_an_interval_or_says_why_not() -> None:
    """No difference without its bounds and n."""
    assert sign_line(SIGN).startswith(
        "sign list: 1 of 4 rows; their mean score is +0.1250 [-0.2500"
    )
    few = replace(SIGN, difference=math.nan, low=math.nan, high=math.nan)
    assert "too few with or without it" in sign_line(few)
    assert "| list | 1 | 4 | too few |" in audit_markdown(replace(AUDIT, signs=(few,)), 1)


def test_the_page_names_every_finding_by_row() -> None:
    """With what was found, and nothing that opens a tag or a cell."""
    page = audit_markdown(AUDIT, 2)
    for words in (
        "a.jsonl, row 1 (violence 0.90)",
        "a.jsonl, row 2 (suite harm/7 copy)",
        "a.jsonl, row 3 (of a.jsonl, row 1, 0.88)",
        "a.jsonl, row 4 (email 2)",
        "| 1 | +0.5000 | a.jsonl, row 3 | How \\| do &lt;b>I&lt;/b>? | duplicates |  |",
        "- one note",
    ):
        assert words in page
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        assert len({re.sub(r"\\\|", "", line).count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize("rows", [ROWS, ROWS[3:4]])
def test_the_drawing_stands_alone(rows: tuple[AuditedRow, ...]) -> None:
    """One SVG with its own colours, the n of each mark, and the same bytes every time."""
    drawn = audit_svg(replace(AUDIT, rows=rows))
    assert drawn.startswith("<svg ")
    assert drawn.count("<style>svg{") == 1
    assert "--fulfilment:" in drawn.partition("</style>")[0]
    assert "complied references, n=2" in drawn
    assert drawn == audit_svg(replace(AUDIT, rows=rows))
