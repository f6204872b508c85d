"""Laws of the gate: what leaves is a prefix of what was cleared, in order, in any rhythm."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.reading import stage, windows
from safeft.guarding.decision import Decision
from safeft.guarding.gate import Gate
from safeft.guarding.windows import tokens

ANY_TIME = settings(deadline=None)
CLEAR = Decision("output")
LOGGED = Decision("output", "log", False)
OPEN = Decision("output", "allow", None, error="timeout", released=True)
REDACT = Decision("output", "redact", True)
BLOCK = Decision("output", "block", True)
FAILED = Decision("output", "block", None, error="failed")
STOPPING = (BLOCK, FAILED, replace(BLOCK, action="replace"), replace(BLOCK, action="regenerate"))
ALL = (CLEAR, CLEAR, CLEAR, LOGGED, OPEN, REDACT, *STOPPING)
GIVEN = stage(window=4, first_window=4, overlap=4)
MARK = "‹gone›"

WORDS = st.lists(st.sampled_from(["word", "a", "Yes.", "\n", "中文", "x" * 30, "  "]), max_size=40)
TEXTS = WORDS.map(" ".join)


class Run:
    """A text on its way through a gate, its decisions late by some steps."""

    def __init__(self, text: str, decisions: list[Decision], *, optimistic: bool = False) -> None:
        self.gate = Gate(GIVEN, MARK, optimistic=optimistic)
        self.text, self.decisions = text, decisions
        self.windows = windows(text, 4, 4, 4)
        self.out, self.at, self.settled, self.asked = "", 0, 0, 0

    def decision(self, place: int) -> Decision:
        return self.decisions[place % len(self.decisions)] if self.decisions else CLEAR

    def feed(self, piece: str, late: int) -> None:
        self.asked += len(self.gate.feed(piece))
        self.leave()
        while self.gate.waiting > late:
            self.settle()

    def end(self) -> None:
        self.asked += len(self.gate.end())
        while self.gate.waiting:
            self.settle()

    def settle(self) -> None:
        self.gate.settle(self.decision(self.settled))
        self.settled += 1
        self.leave()

    def leave(self) -> None:
        self.out += self.gate.render(self.at, self.gate.cleared)
        self.at = max(self.at, self.gate.cleared)

    def all(self, late: int, size: int = 3) -> Run:
        for start in range(0, len(self.text), size):
            self.feed(self.text[start : start + size], late)
        self.end()
        return self

    @property
    def expected(self) -> str:
        """What leaves by the decisions alone: window by window, up to the first that stops."""
        out = ""
        for place, window in enumerate(self.windows):
            found = self.decision(place)
            if found in STOPPING:
                break
            out += MARK if found is REDACT else window.text
        return out


@ANY_TIME
@given(TEXTS, st.lists(st.sampled_from(ALL), max_size=12), st.integers(0, 3), st.integers(1, 9))
def test_what_leaves_was_cleared(
    text: str, decisions: list[Decision], late: int, size: int
) -> None:
    """Exactly the cleared windows before the first that stops, however late decisions come."""
    run = Run(text, decisions).all(late, size)
    assert run.out == run.expected
    assert run.gate.leaked == 0
    stops = [one for place in range(len(run.windows)) if (one := run.decision(place)) in STOPPING]
    assert run.gate.stopped == (stops[0] if stops else None)


@ANY_TIME
@given(TEXTS, st.lists(st.sampled_from(ALL), min_size=1, max_size=12))
def test_at_no_time_has_an_undecided_token_left(text: str, decisions: list[Decision]) -> None:
    """Also in between: what has left are the first windows that are settled, and no more."""
    run = Run(text, decisions)
    for letter in text:
        run.feed(letter, late=2)
        settled = [one.text for one in run.windows[: run.settled]]
        assert run.at <= len("".join(settled))


@ANY_TIME
@given(TEXTS, st.sampled_from(STOPPING))
def test_nothing_passes_a_gate_that_is_stopped(text: str, stopping: Decision) -> None:
    """What is fed afterwards is neither asked about nor kept, and late decisions change nothing."""
    gate = Gate(GIVEN)
    windows = gate.feed("one two three four five six seven eight. nine ten eleven")
    gate.settle(stopping)
    held = str(gate.text)
    assert gate.feed(text) == [] and gate.end() == []
    for _ in windows[1:]:
        gate.settle(CLEAR)
    assert (str(gate.text), gate.cleared, gate.waiting) == (held, 0, 0)
    assert gate.stopped is stopping


@ANY_TIME
@given(TEXTS, st.lists(st.sampled_from([CLEAR, REDACT]), max_size=8), st.data())
def test_redactions_look_the_same_in_any_pieces(
    text: str, decisions: list[Decision], data: st.DataObject
) -> None:
    """A text that is rendered in two parts is the text that is rendered at once."""
    gate = Run(text, decisions).all(late=0).gate
    a, b, c = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=3, max_size=3)))
    assert gate.render(a, b) + gate.render(b, c) == gate.render(a, c)


@ANY_TIME
@given(TEXTS, st.lists(st.sampled_from(ALL), max_size=12), st.integers(0, 3), st.integers(1, 9))
def test_the_optimistic_mode_counts_what_leaked(
    text: str, decisions: list[Decision], late: int, size: int
) -> None:
    """All tokens that had come when the answer was stopped, from its window on, and redacted ones.

    The text leaves as it comes, so what has left is what has come, redacted in time or not.
    """
    run = Run(text, decisions, optimistic=True)
    leaked = 0
    for start in range(0, len(text), size):
        run.feed(text[start : start + size], late)
    run.end()
    for place, window in enumerate(run.windows[: run.settled]):
        found = run.decision(place)
        if found is REDACT:
            leaked += tokens(window.text)
        if found in STOPPING:
            leaked += tokens(run.gate.text[window.start :])
            break
    assert run.gate.leaked == leaked
    stopped = run.gate.stopped is not None
    assert run.at == (len(run.gate.text) if stopped else len(text))


def test_optimistic_text_leaves_before_it_is_decided() -> None:
    """And nothing more once a window was held back."""
    gate = Gate(GIVEN, optimistic=True)
    gate.feed("one two three four five")
    assert gate.cleared == len("one two three four five")
    gate.settle(BLOCK)
    assert gate.cleared == 0 and gate.leaked == 5
