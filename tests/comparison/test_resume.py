"""Laws of resuming: no finished work is done again, and a kill changes no number."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Command, done

from comparison.conftest import Comparison

Numbers = Callable[[Path], dict[str, Any]]
linux = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="processes are read in /proc"
)


def stamps(place: Path) -> dict[str, int]:
    """When each file was last written, locks aside."""
    files = (path for path in place.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in files}


def test_run_again_trains_nothing_and_says_the_same(
    copied: Comparison, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cell is touched, no worker starts, and every number comes out again."""
    before, said = stamps(copied.output / "cells"), numbers(copied.output)
    (copied.output / "estimates.json").unlink()
    monkeypatch.setattr(
        "safeft.comparison.pool.ProcessPoolExecutor", lambda *_, **__: pytest.fail("workers start")
    )
    assert "[6/6] finished before" in done(*copied.arguments("--workers", 2)).err
    assert stamps(copied.output / "cells") == before
    assert numbers(copied.output) == said


def test_committed_cells_without_text_give_the_same_numbers(
    copied: Comparison, numbers: Numbers
) -> None:
    """Verdicts, losses and costs are enough: no answer, no adapter and no log."""
    said = numbers(copied.output)
    for pattern in ("responses.*", "answers.jsonl", "log.json", ".lock", "estimates.json"):
        for path in list(copied.output.rglob(pattern)):
            path.unlink()
    for path in list(copied.output.rglob("adapter")):
        shutil.rmtree(path)
    done(*copied.arguments())
    assert numbers(copied.output) == said


def started(pid: int) -> list[int]:
    """The processes that this one has started, and those that they did."""
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, own) for one in (child, *started(child))]


def alive(pid: int) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all of them end, soon."""
    start = time.monotonic()
    while any(map(alive, pids)) and time.monotonic() - start < 60:
        time.sleep(0.05)
    return not any(map(alive, pids))


@linux
def test_after_kill_9_the_same_numbers_come_out(
    compared: Comparison, numbers: Numbers, tmp_path: Path
) -> None:
    """Killed with work half done; the workers end with it, and the next call finishes the rest.

    The numbers are also those of one process that was never interrupted.
    """
    output = tmp_path / "run"
    command = Command(compared.arguments("--workers", 2, output=output), tmp_path / "log")
    command.until(lambda: any(output.glob("cells/*/training/adapter")))
    workers = started(command.process.pid or 0)
    assert len(workers) >= 2
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL
    assert not (output / "estimates.json").exists()
    assert gone(workers)
    finished = {path: stamps(path.parent) for path in output.glob("cells/*/cell.json")}
    assert len(finished) < 6
    done(*compared.arguments("--workers", 2, output=output))
    assert all(stamps(path.parent) == before for path, before in finished.items())
    assert numbers(output) == numbers(compared.output)


@linux
def test_ctrl_c_is_answered_once(compared: Comparison, tmp_path: Path) -> None:
    """A terminal sends it to the workers too: they stay silent, the parent says how to go on."""
    output = tmp_path / "run"
    command = Command(compared.arguments("--workers", 2, output=output), tmp_path / "log")
    pid = command.process.pid or 0
    command.until(lambda: (output / "manifest.json").is_file() and len(started(pid)) >= 3)
    workers = started(pid)
    for worker in workers:
        os.kill(worker, signal.SIGINT)
    result = command.send(signal.SIGINT)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1] == "interrupted; run the same command again to resume"
    assert gone(workers)
