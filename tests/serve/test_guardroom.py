"""The guard is changed while requests run: each keeps the one that it began with."""

from __future__ import annotations

import asyncio

import pytest
from guarding.reading import checking, having, said

from safeft.guarding.checker import Checker
from safeft.serve.guardroom import Guardroom
from safeft.serve.observer import Silent
from safeft.serve.settings import Settings
from serve.scripted import Counting


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Checker]:
    """Every checker that was closed, in order."""
    found: list[Checker] = []
    close = Checker.close

    def closing(self: Checker) -> None:
        found.append(self)
        close(self)

    monkeypatch.setattr(Checker, "close", closing)
    return found


def test_a_request_keeps_its_guard(closed: list[Checker]) -> None:
    """And the old checker is closed behind its last request, not before."""
    old, new = checking(having("a"), name="old"), checking(having("b"), name="new")
    room = Guardroom(old, Settings(), Silent())
    with room.enter() as first, room.enter() as second:
        room.swap(new)
        assert (first.policy.name, second.policy.name, room.policy.name) == ("old", "old", "new")
        with room.enter() as third:
            assert third.policy.name == "new"
        assert closed == []
    assert closed == [old]
    room.close()
    assert closed == [old, new]


def test_a_decision_carries_the_policy_that_decided() -> None:
    """Also once another is in force: what is logged of a stream tells by which it was checked."""
    observer = Counting()
    room = Guardroom(checking(having("a"), name="old"), Settings(), observer)

    async def decided() -> None:
        with room.enter() as first:
            room.swap(checking(having("b"), name="new"))
            with room.enter() as second:
                await second.decide("output", said("a"))
            await first.decide("output", said("a"))

    asyncio.run(decided())
    found = [(one.policy, one.unsafe) for one, _ in observer.decisions]
    assert found == [("new", False), ("old", True)]
    room.close()


def test_only_who_may_have_company_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single request's checks begin at once; with two under way they wait to be read together."""
    waits: list[float] = []
    sleep = asyncio.sleep
    monkeypatch.setattr(
        asyncio, "sleep", lambda seconds: (waits.append(seconds), sleep(seconds))[1]
    )
    judge = having("a")
    room = Guardroom(checking(judge), Settings(batch_wait=0.02), Silent())

    async def decided() -> None:
        with room.enter() as first:
            await first.decide("output", said("one", "more"))
            assert (waits, judge.read) == ([], [["one", "more"]])
            with room.enter() as second:
                both = first.decide("output", said("one")), second.decide("output", said("other"))
                await asyncio.gather(*both)
            assert (waits, judge.read[1:]) == ([0.02], [["one", "other"]])
            await first.decide("output", said("one"))
        assert waits == [0.02]

    asyncio.run(decided())
    room.close()


def test_a_guard_that_nobody_uses_is_closed_at_once(closed: list[Checker]) -> None:
    """Also when a request has failed in between."""
    old = checking(having("a"))
    room = Guardroom(old, Settings(), Silent())
    with pytest.raises(KeyError), room.enter():
        raise KeyError
    room.swap(checking(having("b")))
    assert closed == [old]
    with room.enter() as guard:
        assert guard.judges == {"output": "reading@1"}
        room.close()
        assert len(closed) == 1
    assert len(closed) == 2
