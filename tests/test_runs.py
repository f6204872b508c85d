"""The run directory: nothing finished is rewritten, nothing whole is lost, nothing half is named.

Kills, full disks and locks are real here: processes that are killed, /dev/full, file-size limits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.errors import RunError, StoredError
from safeft.runs import (
    Lines,
    read_json,
    read_lines,
    write_json,
    write_text,
)

RECORDS = [{"id": str(number), "text": f"ein Wörtchen {number}\n"} for number in range(5)]


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own, with safeft on its path, that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(path: Path, records: list[dict[str, Any]]) -> None:
    """Write what a `Lines` at `path` still lacks, as a resumed command does."""
    with Lines(path) as lines:
        lines.append(records[len(lines.done) :])


def interrupt(path: Path, records: list[dict[str, Any]]) -> None:
    """Append `records` and press Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt), Lines(path) as lines:
        lines.append(records)
        raise KeyboardInterrupt


def test_a_finished_file_is_never_rewritten(tmp_path: Path) -> None:
    """A finished JSONL file refuses a second writer and keeps its bytes."""
    path = tmp_path / "a" / "responses.jsonl"
    finish(path, RECORDS)
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"responses\.jsonl is finished and is never written again"):
        Lines(path)
    assert path.read_bytes() == before
    assert read_lines(path) == RECORDS
    assert [one.name for one in path.parent.iterdir()] == ["responses.jsonl"]


@pytest.mark.parametrize("lines", [0, 1, 3, 4, 6, 7])
def test_batches_stay_what_they_were_wherever_a_run_was_cut(tmp_path: Path, lines: int) -> None:
    """Each record says with whom it was made; whole batches that are there are not made again."""
    made: list[list[int]] = []

    def together(batch: Sequence[int]) -> list[dict[str, Any]]:
        made.append(list(batch))
        return [{"one": one, "of": list(batch)} for one in batch]

    told: list[int] = []
    with Lines(tmp_path / "whole") as whole:
        whole.fill(range(7), 3, together, told.append)
    assert made == [[0, 1, 2], [3, 4, 5], [6]]
    assert told == [3, 6, 7]
    interrupt(tmp_path / "cut", read_lines(tmp_path / "whole")[:lines])
    made.clear()
    with Lines(tmp_path / "cut") as cut:
        cut.fill(range(7), 3, together)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert made == [batch for batch in ([0, 1, 2], [3, 4, 5], [6]) if batch[-1] >= lines]


def test_an_exception_keeps_the_partial_file_and_not_the_final_name(tmp_path: Path) -> None:
    """A failed run leaves `.partial` with all that was appended; the next run goes on from it."""
    path = tmp_path / "r.jsonl"
    interrupt(path, RECORDS[:2])
    assert not path.exists()
    assert Lines(path).done == RECORDS[:2]
    finish(path, RECORDS)
    assert read_lines(path) == RECORDS


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "r.jsonl"
    finish(path, RECORDS)
    return path.read_bytes()


def test_a_file_cut_anywhere_resumes_from_the_last_whole_line(tmp_path: Path, whole: bytes) -> None:
    """For every cut, what is done is the whole lines before it; resuming gives the same bytes."""
    for cut in range(len(whole) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.with_name(path.name + ".partial").write_bytes(whole[:cut])
        assert Lines(path).done == RECORDS[: whole[:cut].count(b"\n")]
        finish(path, RECORDS)
        assert path.read_bytes() == whole


RECOVERING = """
import resource, signal, sys
from pathlib import Path
from safeft.runs import Lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
print(len(Lines(Path(sys.argv[1])).done))
"""


def test_recovering_needs_no_space_and_risks_nothing(tmp_path: Path, whole: bytes) -> None:
    """The cut line is dropped in place: on a full disk, too, every whole line is still there."""
    partial = tmp_path / "r.jsonl.partial"
    partial.write_bytes(whole[:-3])
    out, errors = child(RECOVERING, tmp_path / "r.jsonl").communicate(timeout=60)
    assert out.split() == [str(len(RECORDS) - 1)], errors
    assert partial.read_bytes() == b"".join(whole.splitlines(keepends=True)[:-1])


APPENDING = """
import sys
from pathlib import Path
from safeft.runs import Lines
with Lines(Path(sys.argv[1])) as lines:
    for number in range(len(lines.done), 10**6):
        lines.append([{"id": number, "text": "x" * 200_000}])
"""


def test_kill_9_while_appending_loses_at_most_the_last_line(tmp_path: Path) -> None:
    """Killed twice in the middle of writing, what is left is a gapless prefix of whole records."""
    path, partial = tmp_path / "r.jsonl", tmp_path / "r.jsonl.partial"
    before = 0
    for _ in range(2):
        process = child(APPENDING, path)
        deadline = time.monotonic() + 60
        while not partial.exists() or partial.stat().st_size < (before + 5) * 200_000:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        done = Lines(path).done
        assert [record["id"] for record in done] == list(range(len(done)))
        assert len(done) >= before + 4
        assert not path.exists()
        before = len(done)


def test_a_damaged_line_is_named_and_nothing_is_guessed(tmp_path: Path, whole: bytes) -> None:
    """Damage before the last line is no cut: both readers name the file and the line."""
    lines = whole.splitlines(keepends=True)
    damaged = b"".join([lines[0], b'{"id": \x00\xff}\n', *lines[2:]])
    for name in ("r.jsonl.partial", "finished.jsonl"):
        (tmp_path / name).write_bytes(damaged)
    with pytest.raises(StoredError, match=r"r\.jsonl\.partial: line 2 is damaged; delete"):
        Lines(tmp_path / "r.jsonl")
    with pytest.raises(StoredError, match=r"finished\.jsonl: line 2 is damaged; delete"):
        read_lines(tmp_path / "finished.jsonl")
    assert (tmp_path / "r.jsonl.partial").read_bytes() == damaged


@pytest.mark.parametrize("content", ['{"a": 1', "", "\x00"])
def test_damaged_json_is_named(tmp_path: Path, content: str) -> None:
    """A JSON file that cannot be read says which one, and what to do."""
    (tmp_path / "cost.json").write_text(content)
    with pytest.raises(StoredError, match=r"cost\.json: damaged .*delete it"):
        read_json(tmp_path / "cost.json")


TEXTS = st.text(st.characters(codec="utf-8"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(TEXTS, TEXTS | st.integers() | st.none()), min_size=1))
def test_every_text_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    """What is appended is read back, also U+2028, U+0085 and other ends of line of other worlds."""
    path = tmp_path_factory.mktemp("texts") / "r.jsonl"
    with Lines(path) as lines:
        lines.append(records)
    assert read_lines(path) == records


def test_unicode_line_separators_do_not_cut_a_record(tmp_path: Path) -> None:
    """A model may write U+2028: the line is still one line, finished or resumed."""
    records = [{"text": "a\u2028b\x85c\x0b\x1e\u2029"}, {"text": "next"}]
    path = tmp_path / "r.jsonl"
    interrupt(path, records)
    assert Lines(path).done == records
    finish(path, records)
    assert read_lines(path) == records


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_is_refused_in_written_json(tmp_path: Path, value: float) -> None:
    """JSON has no NaN: neither file is written with one, and a line is all or nothing."""
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": value})
    with pytest.raises(ValueError, match="JSON compliant"), Lines(tmp_path / "r.jsonl") as lines:
        lines.append([{"a": 1.0}, {"a": value}])
    assert not (tmp_path / "a.json").exists() and not (tmp_path / "r.jsonl").exists()
    assert (tmp_path / "r.jsonl.partial").read_bytes() == b""


def test_a_json_file_is_replaced_whole(tmp_path: Path) -> None:
    """`write_json` makes folders, replaces the old file, leaves no partial one, keeps umlauts."""
    path = tmp_path / "deep" / "er" / "a.json"
    for value in ({"a": "ä\u2028"}, {"a": [1, None]}):
        write_json(path, value)
        assert read_json(path) == value
    assert [one.name for one in path.parent.iterdir()] == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    """ENOSPC from the system itself: it is raised, and the old file or none is what stays."""
    for name in ("a.json", "old.json", "r.jsonl"):
        (tmp_path / f"{name}.partial").symlink_to("/dev/full")
    (tmp_path / "old.json").write_text('{"old": 1}')
    for name in ("a.json", "old.json"):
        with pytest.raises(OSError) as caught:
            write_text(tmp_path / name, "x" * 100_000)
        assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError) as caught, Lines(tmp_path / "r.jsonl") as lines:
        lines.append(RECORDS)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "a.json").exists() and not (tmp_path / "r.jsonl").exists()
    assert read_json(tmp_path / "old.json") == {"old": 1}
    (tmp_path / "r.jsonl.partial").unlink()  # space is free again
    finish(tmp_path / "r.jsonl", RECORDS)
    assert read_lines(tmp_path / "r.jsonl") == RECORDS


LIMITED = """
import resource, signal, sys
from pathlib import Path
from safeft.runs import Lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with Lines(Path(sys.argv[1])) as lines:
        for number in range(100):
            lines.append([{"id": number, "text": "x" * 100}])
except OSError as error:
    print(error.errno)
"""


def test_a_line_that_the_system_took_in_half_is_written_again(tmp_path: Path) -> None:
    """Space runs out inside a line: the half line is dropped on resume, the whole ones are kept."""
    path = tmp_path / "r.jsonl"
    out, errors = child(LIMITED, path).communicate(timeout=60)
    assert out.split() == [str(errno.EFBIG)], errors
    assert path.with_name("r.jsonl.partial").stat().st_size == 1000 and not path.exists()
    expected = [{"id": number, "text": "x" * 100} for number in range(12)]
    assert Lines(path).done == expected[: len(Lines(path).done)] and len(Lines(path).done) >= 7
    finish(path, expected)
    assert read_lines(path) == expected


UMLAUTS = r"""
import locale, sys
from pathlib import Path
from safeft.runs import Lines, read_json, write_json
assert locale.getpreferredencoding(False).lower() not in ("utf-8", "utf8")
folder, text = Path(sys.argv[1]), "\xe4\u20ac\u2028"
write_json(folder / "a.json", text)
assert read_json(folder / "a.json") == text
with Lines(folder / "r.jsonl") as lines:
    lines.append([{"text": text}])
"""


def test_files_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """An ASCII locale changes no byte of what is stored."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", UMLAUTS, tmp_path], check=True, env=environment)
    assert (tmp_path / "a.json").read_bytes() == '"ä€\u2028"\n'.encode()
    assert read_lines(tmp_path / "r.jsonl") == [{"text": "ä€\u2028"}]


def test_runs_know_nothing_heavy() -> None:
    """Resuming, locking and reading import no torch and no transformers."""
    code = "import sys, safeft.runs; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
