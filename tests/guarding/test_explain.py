"""Laws of the explanation: whatever a policy does stands in it, and nothing that it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarding.reading import policy
from safeft.assets import folder
from safeft.guarding import load_policy
from safeft.guarding.explain import explain
from safeft.guarding.policy import ACTIONS, STAGES, Policy, Stage

SHIPPED = [path.stem for path in sorted(folder("guardrails").glob("*.yaml"))]


def section(text: str, name: str) -> str:
    """What is said of one stage."""
    (found,) = [one for one in text.split("\n\n") if one.startswith(f"{name}: ")]
    return found


def rule(text: str, category: str) -> str:
    """The line about one category."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"  - {category} from ")]
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_each_stage_is_told_with_its_judge_thresholds_and_failures(name: str) -> None:
    """Of every shipped policy; what it does not read is named as not read."""
    chosen = load_policy(name)
    text = explain(chosen)
    assert text.startswith(f"Policy {name} reads {', '.join(chosen.stages)}.")
    for kind, stage in chosen.stages.items():
        told = section(text, kind)
        assert f"- {stage.judge} reads " in told
        assert f"({stage.on_error})" in told
        assert f"within {stage.timeout:g} s" in told
        for category in {*stage.categories, *stage.examples}:
            threshold, action = stage.rule(category)
            assert f" from {threshold:g} on: {action}; " in rule(told, category)
    left = [kind for kind in STAGES if kind not in chosen.stages]
    assert ("Not read: " in text) is bool(left)
    assert all(f"\n{kind}: " not in text for kind in left)
    assert f"Refusal: {chosen.refusal}" in text


@given(
    st.dictionaries(
        st.sampled_from(["a", "b"]),
        st.fixed_dictionaries(
            {}, optional={"threshold": st.floats(0, 1), "action": st.sampled_from(ACTIONS)}
        ),
    ),
    st.floats(0, 1),
    st.sampled_from(ACTIONS),
)
def test_every_category_is_told_as_it_is_decided(
    categories: dict[str, Any], threshold: float, action: str
) -> None:
    """By `Stage.rule`, on which decisions rest; the line for all others, too."""
    stage = {"threshold": threshold, "action": action, "categories": categories}
    chosen = policy(output=stage)
    told = section(explain(chosen), "output")
    assert chosen.output is not None
    for category in categories:
        one, done = chosen.output.rule(category)
        assert f"from {one:g} on: {done}; " in rule(told, category)
    others = "any other category" if categories else "any category"
    assert f"from {threshold:g} on: {action}; " in rule(told, others)


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_put_into_words_of_its_own(action: str) -> None:
    """What the user reads instead, if anything."""
    chosen = policy(output={"action": action, "regenerate": 3}, redaction="[cut]")
    told = rule(explain(chosen), "any category")
    words = {
        "allow": "it leaves",
        "log": "recorded",
        "redact": "the window becomes '[cut]'",
        "replace": "the refusal takes its place",
        "regenerate": "up to 3 times another answer",
        "block": "nothing more leaves",
    }
    assert [one for one, said in words.items() if said in told.split("; ", 1)[1]][-1] == action


def test_a_blocked_request_spares_the_model_and_a_logged_one_does_not() -> None:
    """What happens at the input is told in its own words."""
    blocked = explain(policy(input={}, output=None))
    logged = explain(policy(input={"action": "log", "on_error": "open"}, output=None))
    assert "the model is not asked" in rule(blocked, "any category")
    assert "the model is asked" in rule(logged, "any category")
    assert "(open): the model is asked, unread" in logged
    assert "window" not in section(blocked, "input")


def test_windows_are_told_as_they_are_read() -> None:
    """Their sizes, and what is read with them."""
    stage = {"window": 40, "first_window": 20, "overlap": 9}
    told = section(explain(policy(output=stage)), "output")
    assert "about 40 tokens, the first of about 20, each with the 9 before it" in told
    alone = section(explain(policy(output=stage | {"overlap": 0})), "output")
    assert "the first of about 20." in alone


def test_a_second_judge_is_told_with_its_band() -> None:
    """And that it decides by the same thresholds."""
    stage = {"escalate": {"judge": "qwen3guard", "low": 0.3, "high": 0.7}}
    told = section(explain(policy(output=stage)), "output")
    assert "from 0.3 to below 0.7, or encoder-guard cannot tell, qwen3guard decides" in told
    assert "decides" not in explain(policy())


def test_a_leak_is_told_of_optimistic_policies_alone() -> None:
    """With how much it may be; where nothing is held back there is none."""
    stages = {"output": {"window": 24}, "reasoning": {"window": 48, "first_window": 60}}
    leaking = explain(policy(streaming="optimistic", **stages))
    assert "OPTIMISTIC" in leaking
    assert "about 60 tokens" in leaking
    assert "OPTIMISTIC" not in explain(policy(**stages))
    assert "nothing to hold back" in explain(load_policy("shadow"))
    assert "Streams" not in explain(load_policy("input"))
    closed = {"action": "log", "on_error": "closed"}
    assert "OPTIMISTIC" in explain(policy(streaming="optimistic", output=closed))


def test_a_policy_that_only_records_says_so() -> None:
    """And when it withholds something all the same."""
    shadow = explain(load_policy("shadow"))
    assert "only records: whatever the scores are, everything leaves." in shadow
    closed = explain(policy(output={"action": "log"}))
    assert "everything leaves, unless no judge can tell (output)." in closed
    assert "only records" not in explain(load_policy("default"))


def test_turns_and_decoding_are_told() -> None:
    """How much of a conversation is seen, and whether codes are opened."""
    assert "the last turn of" in explain(policy(turns=1))
    assert "the last 3 turns of" in explain(policy(turns=3))
    assert "are also read decoded" in explain(policy(decode=True))
    assert "is read as it is written" in explain(policy(decode=False))


def test_categories_of_ones_own_need_no_line_for_others() -> None:
    """A judge of examples scores those alone."""
    stage = {"judge": "examples", "examples": {"a": ["One."], "b": ["Two."]}}
    told = section(
        explain(policy(output=stage | {"categories": {"b": {"action": "log"}}})), "output"
    )
    assert "any other category" not in told
    assert ": block; " in rule(told, "a")
    assert ": log; " in rule(told, "b")


@given(st.sets(st.sampled_from(STAGES), min_size=1))
def test_any_policy_can_be_explained(names: set[str]) -> None:
    """Stage by stage, in the order of a request."""
    values = {"name": "p", "refusal": "No.", **dict.fromkeys(names, Stage())}
    text = explain(Policy.model_validate(values))
    heads = [one.partition(":")[0] for one in text.split("\n\n")[1:-1]]
    assert heads == [name for name in STAGES if name in names]
