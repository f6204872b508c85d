"""Checks of many streams in few calls; whatever happens, each text gets its own decision."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from guarding.reading import Reading, checking, having, said

from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision
from safeft.guarding.policy import StageName
from safeft.records import Response
from safeft.serve.batching import Batcher
from safeft.serve.settings import Settings
from serve.scripted import Counting


def batcher(checker: Checker, **settings: Any) -> tuple[Batcher, Counting]:
    observer = Counting()
    return Batcher(checker, Settings(**settings), observer), observer


async def apart(made: Batcher, texts: Sequence[Response], stage: StageName = "output") -> Any:
    """Each text by itself, all at once, as from so many streams."""
    return await asyncio.gather(*(made.decide(stage, [one]) for one in texts))


def test_texts_of_many_streams_are_read_in_one_call() -> None:
    """And every one of them is told what was decided about it."""
    judge = having("MARK")
    made, observer = batcher(checking(judge))
    texts = said(*(f"MARK {place}" if place % 3 == 0 else f"fine {place}" for place in range(30)))
    found = asyncio.run(apart(made, texts))
    assert [one.unsafe for (one,) in found] == [place % 3 == 0 for place in range(30)]
    assert [len(batch) for batch in judge.read] == [30]
    assert [text for _, text in observer.decisions] == [one.text for one in texts]
    made.close()


def test_what_comes_while_the_judge_reads_is_the_next_batch() -> None:
    """As many as `max_batch`, the oldest first, without any further wait."""
    free, busy = threading.Event(), threading.Event()

    def slow(text: str) -> float:
        busy.set()
        assert free.wait(60)
        return 0.0

    judge = Reading(slow)
    made, _ = batcher(checking(judge), max_batch=3, batch_wait=0.0)

    async def run() -> None:
        first = asyncio.create_task(made.decide("output", said("0")))
        await asyncio.to_thread(busy.wait, 60)
        rest = [asyncio.create_task(made.decide("output", said(str(one)))) for one in range(1, 6)]
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(first, *rest)

    asyncio.run(run())
    assert judge.read == [["0"], ["1", "2", "3"], ["4", "5"]]
    made.close()


def test_a_slow_judge_holds_up_no_other_stage() -> None:
    """Each stage has a thread of its own."""
    free = threading.Event()
    checker = checking(having("MARK"), input={}, reasoning={})
    checker.judges["reasoning"] = Reading(lambda _: float(not free.wait(60)))
    made, _ = batcher(checker)

    async def run() -> list[Decision]:
        slow = asyncio.create_task(made.decide("reasoning", said("a")))
        found = await made.decide("output", said("MARK"))
        free.set()
        return found + await slow

    assert [one.unsafe for one in asyncio.run(run())] == [True, False]
    made.close()


def test_more_texts_than_may_wait_are_a_failure() -> None:
    """Never a clearance, and never a block; the others are decided."""
    made, observer = batcher(checking(having("MARK")), max_waiting=4)
    found = [one for (one,) in asyncio.run(apart(made, said(*"abcdefg")))]
    assert [one.error for one in found] == [""] * 4 + ["overloaded"] * 3
    assert {one.outcome for one in found[4:]} == {"error"} and not found[4].clears
    assert {one.policy for one in found} == {"test"}
    assert len(observer.decisions) == 7
    made.close()


def test_who_waited_too_long_is_not_read_any_more() -> None:
    """The stage's timeout holds for the wait as well: by then nobody needs the decision."""
    judge = having("MARK")
    made, _ = batcher(checking(judge, output={"timeout": 0.01}), batch_wait=0.2)
    ((found,),) = asyncio.run(apart(made, said("a")))
    assert (found.error, found.outcome, judge.read) == ("overloaded", "error", [])
    made.close()


def test_what_nobody_waits_for_is_not_read() -> None:
    """A client that left takes its texts along."""
    judge = having("MARK")
    made, _ = batcher(checking(judge), batch_wait=0.05)

    async def run() -> None:
        gone = asyncio.create_task(made.decide("output", said("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await made.decide("output", said("here"))

    asyncio.run(run())
    assert judge.read == [["here"]]
    made.close()


@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_a_checker_that_fails_is_a_failure_of_the_guard(
    on_error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own, not a judge's: also when it returns too little."""
    checker = checking(having("MARK"), output={"on_error": on_error})
    made, _ = batcher(checker)
    for broken in (lambda *_: 1 / 0, lambda *_: []):
        monkeypatch.setattr(checker, "decide", broken)
        ((found,),) = asyncio.run(apart(made, said("a")))
        assert (found.error, found.unsafe) == ("failed", None)
        assert found.clears == (on_error == "open")
    made.close()
    ((closed,),) = asyncio.run(apart(made, said("a")))
    assert closed.error == "failed"


def test_a_stage_that_the_policy_leaves_out_clears_without_a_check() -> None:
    """Nobody reads it, and nothing is counted."""
    made, observer = batcher(checking(having("MARK")))
    ((found,),) = asyncio.run(apart(made, said("MARK"), "reasoning"))
    assert found.clears and observer.decisions == []
    made.close()


def test_escalations_are_told() -> None:
    """Where a second judge was asked."""
    output = {"escalate": {"judge": "second", "low": 0.2, "high": 0.8}}
    made, observer = batcher(checking(Reading(lambda _: 0.5), having("x"), output=output))
    stages: list[str] = []
    observer.escalated = stages.append  # type: ignore[method-assign]
    asyncio.run(apart(made, said("a", "b")))
    assert stages == ["output", "output"]
    made.close()
