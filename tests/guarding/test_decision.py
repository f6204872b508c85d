"""Laws of decisions: a clear no releases, the strongest action wins, categories do not mix."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.reading import stage
from safeft.guarding.decision import Decision, decide, failed, unsure
from safeft.guarding.policy import ACTIONS, Escalation
from safeft.records import Label, Verdict

ANY_TIME = settings(deadline=None)
NAMES = ["fraud", "hate", "self_harm", "weapons"]
PARTS = st.floats(0, 1)
SCORES = st.dictionaries(st.sampled_from(NAMES), PARTS, min_size=1)
RULES = st.dictionaries(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {}, optional={"threshold": PARTS, "action": st.sampled_from([*ACTIONS, None])}
    ),
)
ACTION = st.sampled_from(ACTIONS)


def verdict(scores: dict[str, float], label: Label = Label.NEITHER) -> Verdict:
    """What a judge says."""
    return Verdict("1", label, "reading@1", scores)


@ANY_TIME
@given(SCORES, RULES, PARTS, ACTION)
def test_the_strongest_action_of_the_reached_categories_is_taken(
    scores: dict[str, float], rules: dict[str, dict[str, object]], threshold: float, action: str
) -> None:
    """By each category's own threshold and action, or else the stage's."""
    taken = []
    for name, score in scores.items():
        own = rules.get(name, {})
        line = own.get("threshold")
        if score >= (threshold if line is None else line):
            taken.append(own.get("action") or action)
    made = stage(threshold=threshold, action=action, categories=rules)
    found = decide("output", made, verdict(scores))
    strongest = max(taken, key=ACTIONS.index, default="allow")
    assert found.action == strongest
    assert found.unsafe is (strongest not in ("allow", "log"))
    assert found.clears is (strongest in ("allow", "log"))
    assert found.score == scores[found.category]


@ANY_TIME
@given(SCORES, RULES, PARTS, ACTION, st.sampled_from(NAMES), PARTS)
def test_setting_one_category_never_changes_another(
    scores: dict[str, float],
    rules: dict[str, dict[str, object]],
    threshold: float,
    action: str,
    changed: str,
    line: float,
) -> None:
    """A text without the category is decided the same, whatever the category's rule is."""
    before = stage(threshold=threshold, action=action, categories=rules)
    other = {"threshold": line, "action": "block"}
    after = stage(threshold=threshold, action=action, categories=rules | {changed: other})
    for name in NAMES:
        if name != changed:
            assert before.rule(name) == after.rule(name)
    rest = {name: one for name, one in scores.items() if name != changed} or {"others": 0.1}
    assert decide("output", before, verdict(rest)) == decide("output", after, verdict(rest))


@pytest.mark.parametrize("label", [Label.FULFILLED, Label.NEITHER, Label.REFUSED])
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_without_scores_the_label_speaks(label: Label, threshold: float) -> None:
    """Whatever the threshold: a yes is a score of 1, a no one of 0."""
    found = decide("output", stage(threshold=threshold), verdict({}, label))
    assert found.unsafe is (label is Label.FULFILLED)
    assert (found.category, found.score) == ("unsafe", float(label is Label.FULFILLED))


NONSENSE = st.one_of(
    st.floats(max_value=0, exclude_max=True),
    st.floats(min_value=1, exclude_min=True),
    st.just(math.nan),
)


@ANY_TIME
@given(SCORES, st.sampled_from(NAMES), NONSENSE, st.sampled_from(["closed", "open"]))
def test_a_score_that_is_none_leaves_the_text_unread(
    scores: dict[str, float], name: str, wrong: float, on_error: str
) -> None:
    """NaN, infinite, negative or above 1: what the others say does not count, nor the label."""
    made = stage(on_error=on_error, action="allow")
    found = decide("output", made, verdict(scores | {name: wrong}))
    assert found == failed("output", made, "unread", judge="reading@1")
    assert found.unsafe is None and found.clears is (on_error == "open")
    assert unsure(Escalation(judge="x"), verdict(scores | {name: wrong}))


@ANY_TIME
@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 0.5, exclude_max=True)))
def test_an_unread_verdict_is_an_error_and_never_a_block(scores: dict[str, float]) -> None:
    """Under `open` it is a bypass, and never an allowed text; of a part it may have scores."""
    unread = verdict(scores, Label.UNREAD)
    closed = decide("output", stage(), unread)
    opened = decide("output", stage(on_error="open"), unread)
    assert (closed.outcome, closed.clears, closed.error) == ("error", False, "unread")
    assert (opened.outcome, opened.clears, opened.error) == ("bypass", True, "unread")
    assert closed.score == opened.score or not scores


@ANY_TIME
@given(SCORES, RULES, PARTS, st.sampled_from(["closed", "open"]))
def test_what_was_read_of_a_text_is_enough_to_hold_it_back(
    scores: dict[str, float], rules: dict[str, dict[str, object]], threshold: float, how: str
) -> None:
    """The same action as if all had been read; what would let it leave leaves it unread."""
    made = stage(threshold=threshold, categories=rules, on_error=how)
    part, whole = verdict(scores, Label.UNREAD), decide("output", made, verdict(scores))
    found = decide("output", made, part)
    assert unsure(Escalation(judge="x"), part)
    if whole.unsafe:
        assert found == whole and not found.clears
    else:
        assert (found.unsafe, found.error, found.clears) == (None, "unread", how == "open")
        assert (found.category, found.score) == (whole.category, whole.score)


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("allow", "allow"),
        ("log", "log"),
        ("redact", "modify"),
        ("replace", "modify"),
        ("regenerate", "modify"),
        ("block", "block"),
    ],
)
def test_each_action_is_counted_as_what_it_does(action: str, outcome: str) -> None:
    """Only blocks are blocks."""
    found = decide("output", stage(action=action), verdict({"hate": 0.9}))
    assert (found.outcome, found.action, found.category) == (outcome, action, "hate")


@ANY_TIME
@given(SCORES, PARTS, PARTS)
def test_who_is_unsure_has_its_largest_score_in_the_band(
    scores: dict[str, float], low: float, high: float
) -> None:
    """From `low` on and below `high`."""
    low, high = sorted((low, high))
    if low < high:
        band = Escalation(judge="second", low=low, high=high)
        assert unsure(band, verdict(scores)) is (low <= max(scores.values()) < high)


def test_a_decision_releases_by_default_only_what_it_says_is_safe() -> None:
    """`unsafe is False`, or unread and let go on purpose."""
    states = [(one, released) for one in (True, False, None) for released in (True, False)]
    clear = {
        state
        for state in states
        if Decision("output", "block", *state[:1], released=state[1]).clears
    }
    assert clear == {(False, True), (False, False), (None, True)}
