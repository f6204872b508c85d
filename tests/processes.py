"""The command line: called in this process, or in one of its own that tests kill and interrupt."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.forkserver import _forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

# Results repeat to the bit only with the same number of threads everywhere.
os.environ["OMP_NUM_THREADS"] = "1"
# One server imports what is heavy, once, and forks for each command: real processes, cheaply.
FORKS = get_context("forkserver")
IMPORTED = ["torch", "datasets", "peft", "trl", "safeft.comparison.preloaded"]
FORKS.set_forkserver_preload(IMPORTED)
SERVER = "SAFETEST_SERVER"  # where pytest's processes find the one that they share
PATIENCE = 600.0  # seconds; only a hang takes so long


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


def call(*arguments: object) -> Result:
    """`safeft` with these arguments, in this process."""
    from safeft.cli import main

    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert isinstance(ended.value.code, int)
    return Result(ended.value.code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Result:
    """`safeft` with these arguments, which must succeed."""
    result = call(*arguments)
    assert result.code == 0, result.err
    return result


def refused(*arguments: object) -> str:
    """The one message with which `safeft` refuses these arguments: exit code 2, no traceback."""
    result = call(*arguments)
    return message(result.code, result.err)


def message(code: int, err: str) -> str:
    """The one message of a refusal, without what a progress bar has painted."""
    lines = (line for line in err.splitlines() if "it/s]" not in line and "examples/s]" not in line)
    said = "\n".join(lines)
    assert code == 2, (code, err)
    assert "Traceback" not in err
    assert said.lower().count("error: ") == 1, said
    return said[said.lower().index("error: ") :]


class Command:
    """`safeft` in a process of its own."""

    def __init__(
        self, arguments: Sequence[object], folder: Path, before: Callable[[], None] | None = None
    ) -> None:
        """Starts at once; `before` runs first, in that process."""
        folder.mkdir(parents=True, exist_ok=True)
        self.files = (folder / "stdout", folder / "stderr")
        words = [str(one) for one in arguments]
        self.process: BaseProcess = FORKS.Process(
            target=_command, args=(words, *self.files, before, os.sched_getaffinity(0))
        )
        self.process.start()

    def until(self, condition: Callable[[], object]) -> None:
        """Waits until `condition` holds; fails when the command ends before."""
        start = time.monotonic()
        while not condition():
            assert self.process.is_alive(), self.result()
            assert time.monotonic() - start < PATIENCE, "nothing happened"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> Result:
        """Sends the signal and waits for the end."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        return self.result()

    def result(self) -> Result:
        """Waits for the end."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError("the command hangs")
        out, err = (path.read_text() for path in self.files)
        return Result(self.process.exitcode, out, err)


def _command(
    arguments: list[str],
    out: Path,
    err: Path,
    before: Callable[[], None] | None,
    cores: set[int],
) -> None:
    os.sched_setaffinity(0, cores)
    # A shell that starts the tests in the background has them ignore Ctrl-C, and so their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["safeft", *arguments]
    if before:
        before()
    from safeft.cli import main

    main(arguments)


def start_server() -> None:
    """One server for all of pytest's processes: imports take ten seconds and half a gigabyte."""
    forkserver.ensure_running()
    os.environ[SERVER] = _forkserver._forkserver_address


def join_server() -> None:
    """Has this process of pytest's fork from the server that the first one started, if it did."""
    if address := os.environ.get(SERVER):
        _forkserver._forkserver_address = address
        # A server ends when this end of its pipe is closed; this one's is the first process's.
        _forkserver._forkserver_alive_fd = os.pipe()[1]
        _forkserver.ensure_running = resource_tracker.ensure_running
        forkserver.ensure_running = resource_tracker.ensure_running


def end_server() -> None:
    """Half a gigabyte goes back; the next command starts another server. A shared one stays."""
    _forkserver._stop()  # what CPython's own tests call; without a server it does nothing


def stall_at_first_checkpoint() -> None:
    """From here on a training stands still once its first checkpoint is whole."""
    from safeft.training.cost import Meter

    write = Meter.write

    def write_and_stall(self: Meter, epochs: float) -> None:
        write(self, epochs)
        while True:
            time.sleep(0.05)

    Meter.write = write_and_stall  # type: ignore[method-assign]
