"""Whatever fails, alone or with others: nothing unsafe leaves, and every request is accounted for.

A few hundred requests; benchmarks/guard/faults.py makes the same with thousands.
"""

from __future__ import annotations

from collections import Counter

import pytest

from safeft.guarding.decision import Decision
from safeft.records import Prompt, Response
from serve import faults

COUNT = 300
STATUS = {
    **dict.fromkeys(("stop", "content_filter"), 200),
    **dict.fromkeys(("guard_failed", "busy"), 503),
    **dict.fromkeys(("upstream_failed", "upstream_malformed"), 502),
}


@pytest.fixture(scope="module")
def report() -> faults.Report:
    return faults.run(COUNT, seed=7)


def test_no_text_of_a_marked_window_is_released(report: faults.Report) -> None:
    """Nor of one whose judge failed; no failure looks like a block, and no broken answer whole."""
    assert faults.broken(report) == []


def test_every_request_is_accounted_for(report: faults.Report) -> None:
    """By the status of how its client saw it end; of who left, by whatever it would have been."""
    counted = Counter(status for _, status in report.observer.requests)
    counted[502] += counted.pop(504, 0)
    seen = Counter(STATUS[one.end] for one in report.outcomes if one.end != "left")
    left = sum(one.end == "left" for one in report.outcomes)
    assert seen <= counted
    assert (counted - seen).total() == left and counted.total() == COUNT
    assert counted[499] > 0 and report.observer.present == 0


def test_every_kind_of_end_was_met(report: faults.Report) -> None:
    """Else the laws would hold for want of cases."""
    ends = {one.end for one in report.outcomes}
    assert ends >= {
        *("stop", "content_filter", "guard_failed", "left", "busy"),
        *("upstream_failed", "upstream_malformed"),
    }
    assert set(report.observer.errors) >= {"", "failed", "timeout", "unread"}
    assert set(report.observer.outcomes) >= {"allow", "block", "error"}


def test_a_sound_request_among_them_is_answered(report: faults.Report) -> None:
    """Where nothing fails, the answer is whole or rightly blocked, or there was no time for it."""
    sound = [
        one
        for one in report.outcomes
        if (one.plan.upstream, one.plan.judge, one.plan.client) == ("fine", "sound", "stays")
    ]
    assert len(sound) > 10
    ends = Counter(one.end for one in sound)
    assert set(ends) <= {"stop", "content_filter", "guard_failed"}
    assert ends["stop"] + ends["content_filter"] > ends["guard_failed"]


def test_the_laws_can_fail() -> None:
    """They notice each of what they are there for."""
    plan = faults.Plan(0, "fine", "sound", "stays", True, ("some words ", "MARK"))
    bad = [
        faults.Outcome(plan, "some words MARK", "stop"),
        faults.Outcome(plan, "other words", "content_filter"),
        faults.Outcome(plan, "some words ", "stop"),
        faults.Outcome(faults.Plan(0, "fine", "nan", "stays", True, ("a",)), "a", "stop"),
        faults.Outcome(faults.Plan(0, "fine", "nan", "stays", True, ("a",)), "", "content_filter"),
    ]
    observer = faults.Tally()
    observer.decided(Decision("output"), 0.1, Response(Prompt.of("?"), "MARK"))
    assert len(faults.broken(faults.Report(bad, observer))) == len(bad) + 2
