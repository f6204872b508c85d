"""What stays of a set after an audit: by score, and by what was found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safeft.data import Source
from safeft.errors import ConfigError, DataError, did_you_mean
from safeft.report.audit import FINDINGS, Audit, AuditedRow
from safeft.runs import write_text

KIND = ".jsonl"
GUARDED = ("harmful", "unread")


def check_drops(drops: Sequence[str], policy: str = "default") -> None:
    """Raises ConfigError for what is neither a number of rows, a share nor a finding.

    Without a policy there is no guard, and nothing that a guard would find.
    """
    for one in drops:
        if one in GUARDED and not policy:
            raise ConfigError(
                f"--drop: {one!r} is what a guard finds, and --policy none leaves it out; name a "
                "policy, or drop something else"
            )
        if _number(one) is None and one not in FINDINGS:
            raise ConfigError(
                f"--drop: {one!r} is no number of rows (100), no share (0.05) and no finding"
                f"{did_you_mean(one, FINDINGS)}"
            )


def check_target(target: Path) -> None:
    """Raises ConfigError unless the rows can be written there."""
    if target.suffix != KIND:
        raise ConfigError(f"--filter: {target}: rows are written as JSON Lines; end it with {KIND}")
    if target.is_dir():
        raise ConfigError(f"--filter: {target}: is a folder; name a file")


def dropped(audit: Audit, drops: Sequence[str]) -> set[tuple[str, int]]:
    """Source and number of each row that is to go: the highest-scored ones, or those found."""
    check_drops(drops)
    gone: set[tuple[str, int]] = set()
    for one in drops:
        number = _number(one)
        rows = audit.found(one) if number is None else audit.top(_count(number, audit))
        gone |= set(map(_key, rows))
    return gone


def write_kept(audit: Audit, source: Source, drops: Sequence[str], target: Path) -> tuple[int, int]:
    """Write the rows that stay, with all of their columns; how many stay and how many go.

    Broken rows, which were not audited, do not stay. Raises DataError when none would, ConfigError
    when another file is in the way.
    """
    check_target(target)
    gone = dropped(audit, drops)
    stay = set(map(_key, audit.rows)) - gone
    if not stay:
        raise DataError(f"--drop: all {len(audit.rows)} rows would go; drop fewer")
    rows = (row.values for row in source.rows if (row.file, row.number) in stay)
    # Parquet may hold dates and the like in columns that no format reads.
    lines = [json.dumps(dict(one), ensure_ascii=False, default=str) + "\n" for one in rows]
    text = "".join(lines)
    if target.is_file() and target.read_bytes() != text.encode():
        raise ConfigError(f"--filter: {target} holds something else; choose another file")
    write_text(target, text)
    return len(lines), len(gone)


def _key(row: AuditedRow) -> tuple[str, int]:
    return row.source, row.row


def _number(text: str) -> float | None:
    """A whole number from 1 on, or a share between 0 and 1; None for anything else."""
    if text.isdecimal() and int(text):
        return int(text)
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 < share < 1 else None


def _count(number: float, audit: Audit) -> int:
    scored = sum(one.score is not None for one in audit.rows)
    return int(number) if number >= 1 else max(1, round(number * scored))
