"""Workers see one accelerator each, so that a training does not spread over its neighbours'."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from safeft.comparison import pool

NAME = "CUDA_VISIBLE_DEVICES"


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two accelerators, and no choice made among them."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv(NAME, raising=False)


@pytest.mark.usefixtures("two")
def test_accelerators_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, or by the names that a scheduler gave; more workers than those share them."""
    assert pool._dealt(2) == ["0", "1"]
    monkeypatch.setenv(NAME, "GPU-a,GPU-b")
    assert pool._dealt(3) == ["GPU-a", "GPU-b", "GPU-a"]


@pytest.mark.usefixtures("two")
def test_a_worker_sees_the_one_that_it_was_dealt() -> None:
    """Whatever a library in the worker asks for, there is one accelerator only."""
    assert set(pool.Workers(0).run_all(os.getenv, [NAME] * 8, 2)) <= {"0", "1"}


def test_without_accelerators_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU the workers' environment is the parent's."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.delenv(NAME, raising=False)
    assert pool._dealt(2) == []
    assert set(pool.Workers(0).run_all(os.getenv, [NAME, NAME], 2)) == {None}


def runner(_: int) -> int:
    """Who runs a task."""
    return os.getpid()


def test_whoever_was_asked_first_runs_the_first_tasks() -> None:
    """That process is not started twice; what comes after it gets new ones, and none is left."""
    with pool.Workers(2) as workers:
        asked = workers.call(runner, 0)
        first = set(workers.run_all(runner, range(8), 2))
        second = set(workers.run_all(runner, range(8), 2))
    assert asked in first
    assert os.getpid() not in first | second
    assert not first & second
    assert not multiprocessing.active_children()


def test_workers_that_nobody_needed_end_with_the_check_that_failed() -> None:
    """A refused comparison leaves no process behind."""
    with pytest.raises(ValueError, match="no such judge"), pool.Workers(2):
        raise ValueError("no such judge")
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not pool._FORKING, reason="workers fork on Linux alone")
def test_what_workers_fork_from_never_hears_ctrl_c(tmp_path: Path) -> None:
    """From its start on: an interrupt in the middle of its imports printed a traceback."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "from multiprocessing import forkserver\n"
        "from pathlib import Path\n"
        "from safeft.comparison.pool import Workers\n"
        "with Workers(2):\n"
        "    number = forkserver._forkserver._forkserver_pid\n"
        "    status = Path(f'/proc/{number}/status').read_text().splitlines()\n"
        "    blocked = next(line for line in status if line.startswith('SigBlk'))\n"
        "    print(bool(int(blocked.split()[1], 16) & 1 << (signal.SIGINT - 1)))\n"
    )
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert out.stdout == "True\n"
