"""Calibration: the whole policy keeps its promise, categories keep their relations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from guarding.calibrated import logit, policies, policy, reading, readings
from safeft.errors import ConfigError, DataError
from safeft.guarding.calibration import calibrate, shifted
from safeft.guarding.policy import Policy
from safeft.guarding.readings import Reading, statistic, withheld


@settings(deadline=None)
@given(
    policies,
    st.lists(readings(), min_size=1, max_size=8),
    st.lists(st.integers(0, 7), min_size=14, max_size=50),
)
def test_a_calibrated_policy_releases_the_order_statistic(
    given_policy: Policy, kinds: list[Reading], places: list[int]
) -> None:
    """At least `rank` of the n, by the very rule that is served; or it is refused and says why."""
    drawn = [kinds[place % len(kinds)] for place in places]
    never = sum(math.isinf(statistic(given_policy, one)) for one in drawn)
    try:
        found = calibrate(given_policy, drawn, 0.2)
    except (ConfigError, DataError) as error:
        idle = isinstance(error, ConfigError)
        assert never > 0 or idle  # pointless policies, and answers that nothing releases
        return
    released = [one for one in drawn if not withheld(found.policy, one)]
    assert len(released) >= found.rank
    assert found.withheld == len(drawn) - len(released) == round(found.rate.estimate * found.n)
    assert Policy.model_validate(found.policy.model_dump()) == found.policy


@settings(deadline=None)
@given(policies, readings(), st.floats(-40, 40), st.floats(0, 40))
def test_a_larger_shift_never_withholds_more(
    given_policy: Policy, one: Reading, shift: float, more: float
) -> None:
    """What the proof rests on, in floats as they are."""
    if withheld(shifted(given_policy, shift + more), one):
        assert withheld(shifted(given_policy, shift), one)


@settings(deadline=None)
@given(policies, readings(), st.floats(-10, 10))
def test_the_statistic_is_the_shift_that_releases(
    given_policy: Policy, one: Reading, shift: float
) -> None:
    """Below it the answer is withheld, above it it leaves, up to rounding and the clipped end."""
    needed = statistic(given_policy, one)
    moved = shifted(given_policy, shift)
    thresholds = [stage.threshold for stage in moved.stages.values()]
    clipped = min(thresholds) < 1e-8 or max(thresholds) > 1 - 1e-12
    if shift > needed + 1e-6 and not clipped:
        assert not withheld(moved, one)
    if shift < needed - 1e-6 and not clipped and min(_scores(one)) > 1e-8:
        assert withheld(moved, one)


def _scores(one: Reading) -> list[float]:
    return [score for found in one.scores.values() for score in found.values()]


def test_categories_keep_their_relations() -> None:
    """Every threshold of both stages moves by one shift on the logit scale; other stages do not."""
    before = policy(
        input={"threshold": 0.5},
        output={
            "threshold": 0.5,
            "categories": {"b": {"threshold": 0.8}, "c": {"action": "log"}, "d": {"threshold": 1}},
        },
        reasoning={"threshold": 0.4},
    )
    drawn = [Reading(str(n), {"input": {"a": 0.1}, "output": {"a": n / 100}}) for n in range(60)]
    found = calibrate(before, drawn, 0.2)
    after = found.policy
    assert after.input and after.output and after.output.categories["b"].threshold
    assert logit(after.input.threshold) == pytest.approx(found.shift)
    assert logit(after.output.threshold) == pytest.approx(found.shift)
    assert logit(after.output.categories["b"].threshold) == pytest.approx(logit(0.8) + found.shift)
    assert after.output.categories["c"] == before.output.categories["c"]  # type: ignore[union-attr]
    assert after.output.categories["d"].threshold == 1
    assert after.reasoning == before.reasoning
    drawn_line = (found.rank - 1) / 100
    assert after.output.threshold == pytest.approx(drawn_line)
    assert after.output.threshold > drawn_line


def test_the_worst_category_and_stage_speak_for_an_answer() -> None:
    """Beside their own thresholds: 0.6 of a strict category weighs more than 0.7 of a lax one."""
    chosen = policy(
        input={"threshold": 0.2},
        output={"threshold": 0.5, "categories": {"b": {"threshold": 0.9}, "l": {"action": "log"}}},
    )
    one = Reading("1", {"output": {"a": 0.6, "b": 0.7, "l": 1.0}, "input": {"a": 0.1}})
    assert statistic(chosen, one) == pytest.approx(logit(0.6) - logit(0.5))
    assert withheld(chosen, one)
    other = Reading("1", {"output": {"a": 0.1, "b": 0.2}, "input": {"a": 0.3}})
    assert statistic(chosen, other) == pytest.approx(logit(0.3) - logit(0.2))


def test_what_only_logs_or_allows_never_withholds() -> None:
    """A category that is watched does not move the line of the others."""
    chosen = policy(output={"threshold": 0.5, "categories": {"l": {"action": "log"}}})
    drawn = [reading(0.1 + n / 1000, l=0.99) for n in range(20)]
    assert calibrate(chosen, drawn, 0.2).policy.output.threshold < 0.13  # type: ignore[union-attr]
    for action in ("log", "allow"):
        idle = policy(input={"action": action}, output={"action": action}, reasoning={})
        with pytest.raises(ConfigError, match="withholds nothing at its input and output"):
            calibrate(idle, drawn, 0.2)


def test_unread_counts_as_withheld_under_closed_alone() -> None:
    """No threshold releases it; `on_error: open` does, whatever the threshold."""
    lost = Reading("1", {"output": {"a": 0.1}}, ("output",))
    closed, opened = policy(), policy(output={"on_error": "open"})
    assert statistic(closed, lost) == math.inf
    assert withheld(closed, lost)
    assert statistic(opened, lost) == pytest.approx(logit(0.1))
    assert not withheld(opened, lost)
    drawn = [lost, *[reading(0.2)] * 21]
    assert (calibrate(closed, drawn, 0.2).unread, calibrate(closed, drawn, 0.2).withheld) == (1, 1)


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_scores_of_0_and_1_break_nothing(extreme: float) -> None:
    """Scores of 0 lie below every threshold that is set, a few of 1 above."""
    drawn = [reading(extreme)] + [reading(0.0)] * 13 + [reading(0.3)] * 10
    found = calibrate(policy(), drawn, 0.2)
    assert found.policy.output and 0 < found.policy.output.threshold <= 1
    assert withheld(found.policy, reading(1.0))
    assert not withheld(found.policy, reading(0.0))
    nothing = calibrate(policy(), [reading(0.0)] * 20, 0.2)
    assert nothing.policy.output and 0 < nothing.policy.output.threshold < 1e-8
    assert nothing.withheld == 0


def test_the_largest_score_below_1_can_still_be_released() -> None:
    """Rounding is no excuse: the threshold becomes 1, which 1 alone reaches."""
    last = math.nextafter(1.0, 0.0)
    found = calibrate(policy(output={"threshold": 0.01}), [reading(last)] * 14, 0.2)
    assert found.policy.output and found.policy.output.threshold == 1.0
    assert found.withheld == 0


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ([reading(0.5)] * 13, "13 benign answers are too few .* at least 14"),
        ([reading(1.0)] * 14, r"releases 14 of 14 benign answers \(0 unread.* and 0 may be"),
        ([Reading("1", {"output": {}}, ("output",))] * 14, r"14 of 14 benign answers \(14 unread"),
        ([Reading("1", {"output": {}})] * 14, "hardly any of the 14 .* are the answers empty"),
    ],
)
def test_what_cannot_be_promised_is_refused(drawn: list[Reading], words: str) -> None:
    """With the number that is needed, or with what is wrong."""
    with pytest.raises(DataError, match=words):
        calibrate(policy(), drawn, 0.2)


KINDS = (  # of exchanges: readings, and how often each is met
    (Reading("", {"input": {"a": 0.0}, "output": {"a": 0.0, "b": 0.1}}), 0.5),
    (Reading("", {"input": {"a": 0.2}, "output": {"a": 0.3, "b": 0.1}}), 0.2),
    (Reading("", {"input": {"a": 0.1}, "output": {"a": 0.3, "b": 0.8}}), 0.12),
    (Reading("", {"input": {"a": 0.4}, "output": {"a": 0.1, "b": 0.1}}), 0.08),
    (Reading("", {"input": {"a": 0.1}, "output": {"a": 0.9, "b": 0.2}}), 0.06),
    (Reading("", {"input": {"a": 0.1}, "output": {"a": 1.0, "b": 0.2}}), 0.03),
    (Reading("", {"input": {"a": 0.1}, "output": {}}, ("output",)), 0.01),
)


@pytest.mark.parametrize(("n", "alpha"), [(14, 0.2), (40, 0.2), (45, 0.1)])
def test_the_promise_holds_for_the_whole_policy(n: int, alpha: float) -> None:
    """Over two stages and categories, with heavy ties, 1s and unread answers: 400 calibrations.

    The true rate of each is known, since the kinds of exchanges are.
    """
    chosen = policy(
        input={"threshold": 0.3},
        output={"threshold": 0.5, "categories": {"b": {"threshold": 0.7}}},
    )
    rng = np.random.default_rng(n)
    shares = [share for _, share in KINDS]
    broken = 0
    for _ in range(400):
        drawn = [KINDS[kind][0] for kind in rng.choice(len(KINDS), n, p=shares)]
        try:
            found = calibrate(chosen, drawn, alpha)
        except DataError:
            continue  # refused: nothing was promised
        rate = sum(share for one, share in KINDS if withheld(found.policy, one))
        broken += rate > alpha + 1e-12
    assert binom.sf(broken - 1, 400, 0.05) > 1e-4
