"""Several observers as one: all are told, and none can stop the others or a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from safeft.guarding.decision import Decision
from safeft.records import Prompt, Response
from safeft.serve.decisions import Decisions
from safeft.serve.metrics import Metrics
from safeft.serve.observer import Observer, Silent
from safeft.serve.together import Together

ANSWER = Response(Prompt.of("?"), "A private answer.")
BLOCK = Decision("output", "block", True, "unsafe", 0.93)


class Written(Silent):
    """Writes down what it is told; fails while it is told to."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.failing = False

    def _tell(self, *what: object) -> None:
        if self.failing:
            raise ValueError(f"no place for {what}")
        self.told.append(what)

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        self._tell("decided", decision, seconds, text)

    def escalated(self, stage: str) -> None:
        self._tell("escalated", stage)

    def leaked(self, tokens: int) -> None:
        self._tell("leaked", tokens)

    def active(self, change: int) -> None:
        self._tell("active", change)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._tell("request", route, status, seconds)


def everything(observer: Observer) -> list[object]:
    """Calls each method once, and says how."""
    observer.decided(BLOCK, 0.1, ANSWER)
    observer.escalated("output")
    observer.leaked(3)
    observer.active(-1)
    observer.request("/v1/models", 200, 0.2)
    return [
        ("decided", BLOCK, 0.1, ANSWER),
        ("escalated", "output"),
        ("leaked", 3),
        ("active", -1),
        ("request", "/v1/models", 200, 0.2),
    ]


def test_each_is_told_everything() -> None:
    """As it was told, and in the same order."""
    one, other = Written(), Written()
    told = everything(Together([one, other]))
    assert one.told == other.told == told


def test_one_that_fails_stops_neither_the_others_nor_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told of once and without what it was told, and again after it had recovered."""
    bad, good = Written(), Written()
    together = Together([bad, good])
    bad.failing = True
    assert everything(together) == good.told
    assert not bad.told
    assert [one.getMessage() for one in caplog.records] == ["an observer failed: ValueError"]
    bad.failing = False
    together.active(1)
    bad.failing = True
    together.active(1)
    assert len(caplog.records) == 2
    assert "private" not in caplog.text


def test_what_counts_is_shown_wherever_it_stands(tmp_path: Path) -> None:
    """The first that has something to show."""
    metrics = Metrics()
    together = Together([Decisions(tmp_path / "log"), metrics])
    together.leaked(3)
    assert together.metrics()[1] == metrics.metrics()[1]
    assert b"safeft_guard_leaked_tokens_total 3.0" in together.metrics()[0]
    assert Together([]).metrics()[0] == Silent().metrics()[0] == b""
