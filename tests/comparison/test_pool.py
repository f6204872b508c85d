"""Workers see one accelerator each, so that a training does not spread over its neighbours'."""

from __future__ import annotations

import multiprocessing
import os

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


def parent_and_self(_: int) -> tuple[int, int]:
    """Who runs a task."""
    return os.getppid(), os.getpid()


def test_workers_that_began_early_run_the_first_tasks() -> None:
    """The same processes, once; what comes after them gets new ones, and none is left."""
    with pool.Workers(2) as workers:
        early = {one.pid for one in multiprocessing.active_children()}
        first = set(workers.run_all(parent_and_self, range(8), 2))
        second = set(workers.run_all(parent_and_self, range(8), 2))
    assert {one for _, one in first} <= early
    assert {parent for parent, _ in first | second} == {os.getpid()}
    assert not {one for _, one in second} & early
    assert not multiprocessing.active_children()


def test_workers_that_nobody_needed_end_with_the_check_that_failed() -> None:
    """A refused comparison leaves no process behind."""
    with pytest.raises(ValueError, match="no such judge"), pool.Workers(2):
        raise ValueError("no such judge")
    assert not multiprocessing.active_children()
