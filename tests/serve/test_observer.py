"""Who watches does not decide: an observer that fails stops nothing."""

from __future__ import annotations

from typing import Any

import pytest
from guarding.reading import checking, having

from safeft.guarding.decision import Decision
from safeft.records import Prompt, Response
from safeft.serve.observer import Careful, Silent
from serve.scripted import Counting, choice, completion, proxied, whole

TOLD: list[tuple[str, tuple[Any, ...]]] = [
    ("decided", (Decision("output"), 0.1, Response(Prompt.of("?"), "words"))),
    ("escalated", ("output",)),
    ("leaked", (3,)),
    ("active", (1,)),
    ("request", ("/v1/models", 200, 0.1)),
]


class Failing:
    """Fails at everything, and says too much."""

    fails = True

    def __getattr__(self, name: str) -> Any:
        def told(*what: object) -> None:
            if self.fails:
                raise OSError(f"no space left for {what}")

        return told


def test_what_it_is_told_arrives() -> None:
    """In full; the silent one keeps nothing of it."""
    heard: list[tuple[str, tuple[Any, ...]]] = []

    class Hearing(Silent):
        def __getattribute__(self, name: str) -> Any:
            return lambda *what: heard.append((name, what))

    for observer in (Careful(Hearing()), Silent()):
        for name, what in TOLD:
            assert getattr(observer, name)(*what) is None
    assert heard == TOLD
    assert Careful(Silent()).metrics()[0] == b""


def test_its_failure_is_logged_once_and_without_text(caplog: pytest.LogCaptureFixture) -> None:
    """Until it works again."""
    failing = Failing()
    careful = Careful(failing)  # type: ignore[arg-type]
    for _ in range(3):
        for name, what in TOLD:
            getattr(careful, name)(*what)
    assert len(caplog.records) == 1 and "OSError" in caplog.text
    failing.fails = False
    careful.leaked(1)
    failing.fails = True
    careful.leaked(1)
    assert len(caplog.records) == 2 and "words" not in caplog.text


def test_answers_are_guarded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no reason to let anything out, nor to keep everything in."""

    def full(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Counting, "decided", full)
    with proxied(checking(having("MARK"))) as place:
        for text, reason in (("MARK", "content_filter"), ("fine", "stop")):
            place.upstream.answer = lambda _, text=text: whole(completion(choice(text)))
            assert place.ask().json()["choices"][0]["finish_reason"] == reason
