"""The tables by domain and by category."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from safeft.records import Row
from safeft.report.cells import CATEGORY, Cell, estimate_cell, probability
from safeft.report.section import Section, legend
from safeft.report.view import CURVE, FULFILMENT, OVERALL, View


def by_domain(view: View) -> Section:
    """Fulfilment in each domain."""
    return _grouped(view, "domain", lambda group: not group.startswith(CATEGORY))


def by_category(view: View) -> Section:
    """Fulfilment in each category: the heat map."""
    return _grouped(view, "category", lambda group: group.startswith(CATEGORY))


def _grouped(view: View, key: str, wanted: Callable[[str], bool]) -> Section:
    found = {e.row.group for e in view.document.estimates if e.row.metric == FULFILMENT}
    groups = sorted((g for g in found - {OVERALL, CURVE} if wanted(g)), key=_natural)
    name = view.heading(FULFILMENT).capitalize()
    return Section(
        key=key,
        title=f"By {key}",
        caption=f"{name} at each recipe's last epoch. {legend(view)}{_adjusted(view, key)}",
        columns=(key, *(line.name for line in view.lines)),
        rows=tuple((_group(group), *_across(view, group)) for group in groups),
        heat=True,
    )


def _adjusted(view: View, key: str) -> str:
    if key != "category" or not view.reference:
        return ""
    name = view.document.name(view.reference)
    return f" q: p of the difference to {name}, its false discovery rate held over categories."


def _group(group: str) -> Cell:
    name = group.removeprefix(CATEGORY)
    return Cell(name, sort=float(name) if name.isdecimal() else None)


def _across(view: View, group: str) -> tuple[Cell, ...]:
    return tuple(_cell(view, replace(line.row, group=group)) for line in view.lines)


def _cell(view: View, row: Row) -> Cell:
    """The rate, and whether it differs from the reference's, adjusted over categories."""
    cell = estimate_cell(view.estimates.get(row), FULFILMENT)
    found = view.difference(row, view.reference)
    return replace(cell, bounds=probability(found.p_adjusted, "q")) if found else cell


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Category 10 comes after category 9."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
