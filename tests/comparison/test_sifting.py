"""What stays of a set: all rows but those that were to go, as they were written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safeft.comparison.sifting import check_drops, check_target, dropped, write_kept
from safeft.data import Source, load
from safeft.errors import ConfigError, DataError
from safeft.report.audit import Audit, AuditedRow

SCORES = (0.1, 0.9, None, 0.5, 0.7)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Five rows with a column that no format reads."""
    rows = [{"prompt": f"p{n}", "completion": "é", "extra": [n]} for n in range(5)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(str(path))


@pytest.fixture
def audit(source: Source) -> Audit:
    """Their scores; the first repeats a prompt, the second is harmful."""
    ranked = sorted((one for one in SCORES if one is not None), reverse=True)
    rows = [
        AuditedRow(
            source.rows[place].file,
            source.rows[place].number,
            score,
            ranked.index(score) + 1 if score is not None else None,
            harmful="x" if place == 1 else "",
            leaks=("suite 1 copy",) if place == 0 else (),
        )
        for place, score in enumerate(SCORES)
    ]
    return Audit("rows", tuple(rows), "", "")


@pytest.mark.parametrize(
    ("drops", "gone"),
    [
        (["1"], {2}),
        (["3"], {2, 5, 4}),
        (["0.01"], {2}),  # a share is one row at least
        (["0.5"], {2, 5}),  # of the four that have a score
        (["leaks"], {1}),
        (["harmful", "leaks"], {1, 2}),
        (["1", "harmful"], {2}),
        (["personal"], set()),
        (["99", "duplicates"], {1, 2, 4, 5}),
    ],
)
def test_what_goes(audit: Audit, drops: list[str], gone: set[int]) -> None:
    """A number, a share or a finding; together they add up, and a row goes once."""
    assert {number for _, number in dropped(audit, drops)} == gone


@pytest.mark.parametrize("one", ["0", "1.0", "-3", "1.5", "nan", "many", "leak", ""])
def test_what_is_no_drop_is_refused(one: str) -> None:
    """With the nearest finding."""
    with pytest.raises(ConfigError, match="is no number of rows") as caught:
        check_drops([one])
    assert one != "leak" or "did you mean 'leaks'?" in str(caught.value)


@pytest.mark.parametrize("one", ["harmful", "unread"])
def test_what_only_a_guard_finds_needs_one(one: str) -> None:
    """Without a guard nothing would go, and nobody would know."""
    with pytest.raises(ConfigError, match=f"{one!r} is what a guard finds"):
        check_drops([one], policy="")
    check_drops([one])


def test_rows_stay_as_they_were(audit: Audit, source: Source, tmp_path: Path) -> None:
    """All columns, in their order, and the set can be read again in its format."""
    target = tmp_path / "kept.jsonl"
    assert write_kept(audit, source, ["2"], target) == (3, 2)
    kept = load(str(target))
    assert kept.format == source.format
    assert [row.values for row in kept.rows] == [source.rows[place].values for place in (0, 2, 3)]
    assert write_kept(audit, source, ["2"], target) == (3, 2)


def test_another_file_is_never_overwritten(audit: Audit, source: Source, tmp_path: Path) -> None:
    """Only the same rows may be written again."""
    target = tmp_path / "kept.jsonl"
    target.write_text("mine\n")
    with pytest.raises(ConfigError, match="holds something else; choose another file"):
        write_kept(audit, source, ["2"], target)
    assert target.read_text() == "mine\n"


def test_an_empty_set_is_refused(audit: Audit, source: Source, tmp_path: Path) -> None:
    """Nothing is written."""
    scored = Audit("rows", tuple(one for one in audit.rows if one.score is not None), "", "")
    with pytest.raises(DataError, match="all 4 rows would go"):
        write_kept(scored, source, ["4"], tmp_path / "kept.jsonl")
    assert not (tmp_path / "kept.jsonl").exists()


@pytest.mark.parametrize("name", ["kept.csv", "kept", "folder.jsonl"])
def test_targets_that_are_none(tmp_path: Path, name: str) -> None:
    """JSON Lines, and no folder."""
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match="--filter: "):
        check_target(tmp_path / name)
