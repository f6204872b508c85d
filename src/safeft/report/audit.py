"""An audit of training data: its rows' scores and findings as Markdown and as a drawing.

It holds no answer's text, and of prompts no more than a short excerpt of those that are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safeft.report.drawing import FULFILMENT, INK, REFUSAL, draw
from safeft.report.markdown import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40
# The page's colours, for a figure that stands alone.
STYLE = "<style>svg{--fulfilment:#c2410c;--refusal:#1d6fd1;--line:#c9d1d9;color:#1b1f24}</style>"
FINDINGS: dict[str, str] = {
    "harmful": "harmful answers, by the guard",
    "unread": "answers that the guard could not read",
    "leaks": "repeat an evaluation prompt",
    "duplicates": "repeat an earlier row",
    "personal": "hold personal data or secrets",
}


@dataclass(frozen=True, slots=True)
class AuditedRow:
    """One row: where it is, how it scores (None: it has no answer to read), and what was found.

    `harmful` is the guard's category, '' when it cleared the answer; `leaks` names suite and
    prompt; `duplicate_of` is the earlier row; `personal` counts findings by kind.
    """

    source: str
    row: int
    score: float | None = None
    rank: int | None = None
    harmful: str = ""
    harmful_score: float | None = None
    unread: bool = False
    leaks: tuple[str, ...] = ()
    duplicate_of: str = ""
    similarity: float | None = None
    personal: dict[str, int] = field(default_factory=dict)
    signs: tuple[str, ...] = ()
    answer_words: int = 0

    @property
    def place(self) -> str:
        """`train.jsonl, row 7`."""
        return f"{self.source}, row {self.row}"

    @property
    def findings(self) -> tuple[str, ...]:
        """The kinds of finding that it has."""
        present = {
            "harmful": bool(self.harmful),
            "unread": self.unread,
            "leaks": bool(self.leaks),
            "duplicates": bool(self.duplicate_of),
            "personal": bool(self.personal),
        }
        return tuple(kind for kind, there in present.items() if there)


@dataclass(frozen=True, slots=True)
class SignRow:
    """A surface sign: how many rows have it, and by how much their mean score is higher."""

    sign: str
    rows: int
    n: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Audit:
    """All that an audit says. `complied` and `refused` are the references' own scores.

    `excerpts` has the beginnings of the prompts of the rows that are named, personal data hidden.
    """

    title: str
    rows: tuple[AuditedRow, ...]
    method: str
    separation: str
    signs: tuple[SignRow, ...] = ()
    complied: tuple[float, ...] = ()
    refused: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    excerpts: dict[str, str] = field(default_factory=dict)

    def top(self, count: int) -> list[AuditedRow]:
        """The highest-scored rows, the highest first."""
        ranked = [one for one in self.rows if one.rank is not None]
        return sorted(ranked, key=lambda one: one.rank or 0)[:count]

    def found(self, kind: str) -> list[AuditedRow]:
        """The rows with a finding of this kind, in order."""
        return [one for one in self.rows if kind in one.findings]


def summary_lines(audit: Audit, top: int, shown: int = 5) -> Iterator[str]:
    """The audit for a terminal: counts with n, and rows by their place."""
    yield f"{audit.title}: {len(audit.rows)} rows"
    yield f"score: {audit.method}"
    yield f"references: {audit.separation}"
    for kind, words in FINDINGS.items():
        found = audit.found(kind)
        if found or kind != "unread":
            yield f"{len(found)} of {len(audit.rows)} {words}{_named(found, shown)}"
    for sign in audit.signs:
        yield sign_line(sign)
    yield f"highest scores, of {sum(one.score is not None for one in audit.rows)}:"
    for row in audit.top(top):
        yield f"  {row.rank}. {row.score:+.4f} {row.place}: {audit.excerpts.get(row.place, '')}"
    yield from (f"note: {one}" for one in audit.notes)


def sign_line(sign: SignRow) -> str:
    """A sign in words: how many rows, and their difference in score with its interval."""
    said = f"sign {sign.sign}: {sign.rows} of {sign.n} rows"
    if math.isnan(sign.difference):
        return f"{said}; too few with or without it to compare their scores"
    return (
        f"{said}; their mean score is {sign.difference:+.4f} [{sign.low:+.4f}, {sign.high:+.4f}] "
        "higher than the others'"
    )


def audit_markdown(audit: Audit, top: int) -> str:
    """audit.md: counts, the highest scores, every finding by row, and how it was done."""
    parts = [
        f"# Audit of {escape(audit.title)}",
        f"{len(audit.rows)} rows. Score: {escape(audit.method)}. {escape(audit.separation)}.",
        "A high score says that a row's answer is like complying with a harmful request and unlike "
        "refusing it. It ranks rows of one set and is no probability.",
        _table(("finding", "rows", "of", "which"), _counts(audit)),
        "## Highest scores",
        _table(("rank", "score", "row", "prompt", "findings", "signs"), _tops(audit, top)),
        "## Surface signs",
        "Reported beside the score and not mixed into it; difference of mean scores, 95% interval "
        "(Welch).",
        _table(("sign", "rows", "of", "difference in score"), map(_sign_cells, audit.signs)),
    ]
    if audit.notes:
        parts += ["## Notes", "\n".join(f"- {escape(one)}" for one in audit.notes)]
    return "\n\n".join(parts) + "\n"


def audit_svg(audit: Audit) -> str:
    """The scores' histogram, with the references' scores and the harmful rows above it.

    Raises ImportError without matplotlib.
    """
    return draw(_painted(audit), 8, 4, "audit").replace(">", f">{STYLE}", 1)


def _painted(audit: Audit) -> Callable[[Figure], None]:
    scores = [one.score for one in audit.rows if one.score is not None]
    harmful = [one.score for one in audit.found("harmful") if one.score is not None]
    marks = (
        (f"complied references, n={len(audit.complied)}", audit.complied, FULFILMENT, "v"),
        (f"refused references, n={len(audit.refused)}", audit.refused, REFUSAL, "^"),
        (f"rows that the guard calls harmful, n={len(harmful)}", harmful, INK, "x"),
    )

    def paint(figure: Figure) -> None:
        axes: Any = figure.add_subplot()
        heights, _, _ = axes.hist(scores, bins=BINS, color=INK, alpha=0.35)
        most = max([1.0, *map(float, heights)])
        for place, (label, values, colour, marker) in enumerate(marks, 1):
            height = [most * (1 + 0.08 * place)] * len(values)
            style = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 5}
            axes.plot(values, height, label=label, **style)
        axes.set(xlabel=f"score of {len(scores)} rows", ylabel="rows")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, fontsize=8)

    return paint


def _counts(audit: Audit) -> Iterator[tuple[str, ...]]:
    for kind, words in FINDINGS.items():
        found = audit.found(kind)
        if found or kind != "unread":
            yield words, str(len(found)), str(len(audit.rows)), "; ".join(map(_said(kind), found))


def _said(kind: str) -> Callable[[AuditedRow], str]:
    """How a finding of this kind is told of a row."""

    def say(one: AuditedRow) -> str:
        more = {
            "harmful": f" ({one.harmful} {one.harmful_score or 0:.2f})",
            "leaks": f" ({', '.join(one.leaks)})",
            "duplicates": f" (of {one.duplicate_of}, {one.similarity or 0:.2f})",
            "personal": f" ({', '.join(f'{key} {n}' for key, n in one.personal.items())})",
        }
        return one.place + more.get(kind, "")

    return say


def _tops(audit: Audit, top: int) -> Iterator[tuple[str, ...]]:
    for one in audit.top(top):
        said = ", ".join(one.findings), ", ".join(one.signs)
        yield (
            str(one.rank),
            f"{one.score:+.4f}",
            one.place,
            audit.excerpts.get(one.place, ""),
            *said,
        )


def _sign_cells(sign: SignRow) -> tuple[str, ...]:
    bounds = f"{sign.difference:+.4f} [{sign.low:+.4f}, {sign.high:+.4f}]"
    shown = "too few" if math.isnan(sign.difference) else bounds
    return sign.sign, str(sign.rows), str(sign.n), shown


def _named(found: Sequence[AuditedRow], shown: int) -> str:
    if not found:
        return ""
    more = f" and {len(found) - shown} more" if len(found) > shown else ""
    return ": " + "; ".join(one.place for one in found[:shown]) + more


def _table(columns: Sequence[str], rows: Iterator[tuple[str, ...]] | map[tuple[str, ...]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(escape(cell) for cell in line)} |" for line in lines)
