"""report.md: the same tables as the page, for a pull request or a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from safeft.report.document import Document
from safeft.report.sections import Section, sections
from safeft.report.view import View

ESCAPES = str.maketrans({"\\": "\\\\", "&": "&amp;", "|": "\\|", "*": "\\*"})


def report_markdown(document: Document) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    tables = sections(View(document))
    parts = [f"# {escape(document.title)}"]
    parts += [_section(table) for table in tables[:1]]
    parts += [_list("Notes", document.notes)] if document.notes else []
    parts += [_section(table) for table in tables[1:]]
    parts += [_provenance(document)] if document.provenance else []
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text on one line that opens no tag, no cell and no link: names come from users' files."""
    line = " ".join(text.translate(ESCAPES).split())
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", line).replace("](", "]\\(")


def _section(section: Section) -> str:
    rows = ([cell.text for cell in row] for row in section.rows)
    table = _table(section.columns, rows)
    return f"## {section.title}\n\n{escape(section.caption)}\n\n{table}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(columns)
    lines = [list(map(escape, columns)), rule, *(list(map(escape, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(title: str, items: Iterable[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {escape(item)}" for item in items)


def _provenance(document: Document) -> str:
    """What was used, and the command as a block that can be copied."""
    others = sorted(pair for pair in document.provenance.items() if pair[0] != "command")
    parts = ["## Provenance"]
    if others:
        parts.append(_table(("what", "value"), others))
    if command := document.provenance.get("command"):
        parts.append("\n".join(f"    {line}" for line in command.splitlines()))
    return "\n\n".join(parts)
