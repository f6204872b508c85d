"""Policies: the shipped ones load, a wrong one says where and why, and rules stay apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safeft.assets import folder
from safeft.errors import ConfigError
from safeft.guarding import Policy, load_policy
from safeft.guarding.decision import decide
from safeft.guarding.policy import ACTIONS, STAGES, Rule, Stage
from safeft.records import Label, Verdict

SHIPPED = sorted(folder("guardrails").glob("*.yaml"))
README = (folder("guardrails") / "README.md").read_text()
CATEGORIES = ("a", "b", "c")


def write(tmp_path: Path, **changes: object) -> Path:
    """The YAML of a policy that reads answers."""
    path = tmp_path / "mine.yaml"
    values = {"name": "mine", "output": {}, "refusal": "No."} | changes
    path.write_text(yaml.safe_dump({key: one for key, one in values.items() if one is not None}))
    return path


def test_these_policies_ship() -> None:
    names = {"both", "default", "finance-advice", "input", "shadow", "strict"}
    assert {path.stem for path in SHIPPED} == names


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_policies_load_under_their_own_name_and_fail_closed(path: Path) -> None:
    """But for the one that must never be noticed."""
    policy = load_policy(path.stem)
    assert policy == load_policy(path)
    assert policy.name == path.stem
    failing = {stage.on_error for stage in policy.stages.values()}
    assert failing == {"open" if path.stem == "shadow" else "closed"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_catalogue_lists_every_policy(path: Path) -> None:
    assert f"({path.name})" in README


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_key_of_a_shipped_policy_is_explained_where_it_first_stands(path: Path) -> None:
    """By a comment on its line or above it; stages read alike need no second one."""
    lines, known = path.read_text().splitlines(), set[str]()
    for place, line in enumerate(lines):
        found = re.match(r"\s*([a-z_]+):", line)
        if found and found[1] not in known:
            known.add(found[1])
            above = lines[place - 1].strip()
            nested = above.split("#")[0].strip() == "categories:"
            assert "#" in line or above.startswith("#") or nested, line


def test_the_shipped_policies_show_every_key() -> None:
    """Also the one that is commented out, since it needs a model: it is valid once it is not."""
    strict = (folder("guardrails") / "strict.yaml").read_text()
    text = re.sub(r"(?m)^  # (escalate:|  (?:judge|low|high):)", r"  \1", strict)
    written = [yaml.safe_load(text), *(yaml.safe_load(path.read_text()) for path in SHIPPED)]
    shown = {key for one in written for name in STAGES for key in one.get(name, {})}
    assert shown == {*Stage.model_fields}
    assert {key for one in written for key in one} == {*Policy.model_fields}
    assert Policy.model_validate_json(json.dumps(written[0])).output.escalate is not None  # type: ignore[union-attr]


def test_what_comparisons_set_side_by_side_differs_in_its_stages_alone() -> None:
    """`both` is `input` and `default` together, so that a difference between them means a stage."""
    one, two, both = (load_policy(name) for name in ("input", "default", "both"))
    assert (both.input, both.output) == (one.input, two.output)
    assert [*one.stages, *two.stages] == [*both.stages] == ["input", "output"]
    kept = {"refusal", "redaction", "turns", "decode", "streaming"}
    assert one.model_dump(include=kept) == two.model_dump(include=kept)
    assert one.model_dump(include=kept) == both.model_dump(include=kept)


def test_strict_is_at_least_as_strict_as_default() -> None:
    """It reads every stage, by no higher thresholds, in no larger windows."""
    strict, default = load_policy("strict"), load_policy("default")
    assert [*strict.stages] == [*STAGES]
    assert default.output is not None
    assert strict.output is not None
    assert strict.output.threshold < default.output.threshold
    assert strict.output.window < default.output.window


@given(st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0, 1), min_size=1), st.booleans())
def test_shadow_withholds_nothing(scores: dict[str, float], read: bool) -> None:
    """Whatever a judge says, and when it says nothing."""
    verdict = Verdict("1", Label.FULFILLED if read else Label.UNREAD, "j", scores)
    for name, stage in load_policy("shadow").stages.items():
        assert decide(name, stage, verdict).clears


def test_guardrails_holds_data_only() -> None:
    kinds = {path.suffix for path in folder("guardrails").rglob("*") if path.is_file()}
    assert kinds == {".yaml", ".md"}


def test_a_policy_of_ones_own_loads_and_closes_by_default(tmp_path: Path) -> None:
    """Whatever is left out has its documented default."""
    policy = load_policy(write(tmp_path, output={"threshold": 1}))
    assert policy.output == Stage(threshold=1.0, on_error="closed", judge="encoder-guard")
    assert [*policy.stages] == ["output"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"treshold": 0.4}, "output.treshold: unknown key; did you mean 'threshold'?"),
    ({"threshold": "0.5"}, "output.threshold: Input should be a valid number, not '0.5'"),
    ({"threshold": 1.5}, "output.threshold: Input should be less than or equal to 1"),
    ({"threshold": float("nan")}, "output.threshold: "),
    ({"threshold": True}, "output.threshold: "),
    ({"timeout": float("inf")}, "output.timeout: "),
    ({"timeout": 0}, "output.timeout: "),
    ({"window": 3}, "output.window: "),
    ({"regenerate": 11}, "output.regenerate: "),
    ({"on_error": "close"}, "output.on_error: 'close' is not valid; did you mean 'closed'?"),
    ({"action": "blok"}, "output.action: 'blok' is not valid; did you mean 'block'?"),
    ({"categories": {"a": {"actions": "log"}}}, "output.categories.a.actions: unknown key"),
    ({"categories": {"a": {"threshold": 2}}}, "output.categories.a.threshold: "),
    ({"judge": ""}, "output.judge: String should have at least 1 character"),
    ({"judge": "examples"}, "belong together"),
    ({"examples": {"a": ["One."]}}, "belong together"),
    ({"judge": "examples", "examples": {"a": []}}, "at least one sentence"),
    ({"judge": "examples", "examples": {"a": ["One.", " "]}}, "at least one sentence"),
    ({"escalate": {"judge": "x", "low": 0.8, "high": 0.2}}, "low must be below high"),
    ({"escalate": {"judge": "encoder-guard"}}, "encoder-guard would be asked twice"),
]


@pytest.mark.parametrize(("output", "words"), WRONG, ids=[words[-24:] for _, words in WRONG])
def test_a_wrong_stage_names_its_file_and_key(
    tmp_path: Path, output: dict[str, Any], words: str
) -> None:
    path = write(tmp_path, output=output)
    with pytest.raises(ConfigError) as caught:
        load_policy(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ouput": {}}, "ouput: unknown key; did you mean 'output'?"),
        ({"refusal": ""}, "refusal: String should have at least 1 character"),
        ({"refusal": None}, "refusal: missing; add it"),
        ({"name": 3}, "name: Input should be a valid string"),
        ({"turns": 0}, "turns: "),
        ({"streaming": "optimist"}, "did you mean 'optimistic'?"),
        ({"output": None}, "needs at least one stage: input, output, reasoning, tool_calls"),
        ({"input": {"window": 16}}, "input.window: a request is read whole"),
        ({"input": {"regenerate": 3}}, "input.regenerate: a request is read whole"),
    ],
)
def test_a_wrong_policy_names_its_file_and_key(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load_policy(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["input", "reasoning", "tool_calls"])
@pytest.mark.parametrize("action", ["redact", "replace", "regenerate"])
def test_only_answers_are_rewritten(tmp_path: Path, name: str, action: str) -> None:
    """As the action of a stage and of a category."""
    for stage in ({"action": action}, {"categories": {"a": {"action": action}}}):
        with pytest.raises(ConfigError, match=f"{name}: {action} is for output alone"):
            load_policy(write(tmp_path, **{name: stage}))
        assert load_policy(write(tmp_path, output=stage)).output == Stage.model_validate(stage)


def test_an_absent_policy_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        load_policy("defaults")
    with pytest.raises(ConfigError, match="guardrails"):
        load_policy("nowhere/mine.yaml")


def test_a_policy_cannot_be_changed_after_reading() -> None:
    policy = load_policy("default")
    with pytest.raises(ValidationError):
        policy.turns = 9  # type: ignore[misc]
    assert isinstance(policy, Policy)


scores = st.fixed_dictionaries(dict.fromkeys(CATEGORIES, st.floats(0, 1)))
actions = st.sampled_from(ACTIONS)
limits = st.floats(0, 1)
rules = st.builds(Rule, threshold=st.none() | limits, action=st.none() | actions)
stages = st.builds(
    Stage,
    threshold=limits,
    action=actions,
    categories=st.dictionaries(st.sampled_from(CATEGORIES), rules),
)


@given(stages, rules, scores)
def test_setting_one_category_never_changes_another(
    stage: Stage, rule: Rule, scores: dict[str, float]
) -> None:
    """What is decided about any other category, alone or beside it, stays what it was."""
    changed = stage.model_copy(update={"categories": stage.categories | {"a": rule}})
    for other in ("b", "c"):
        alone = Verdict("1", Label.NEITHER, "j", {other: scores[other]})
        assert decide("output", changed, alone) == decide("output", stage, alone)
        assert changed.rule(other) == stage.rule(other)
    both = {key: scores[key] for key in ("b", "c")}
    verdict = Verdict("1", Label.NEITHER, "j", both)
    assert decide("output", changed, verdict) == decide("output", stage, verdict)
    # Beside a score of `a` that reaches nothing, too.
    quiet = Verdict("1", Label.NEITHER, "j", {"a": 0.0} | both)
    threshold, _ = changed.rule("a")
    if threshold > 0 and (found := decide("output", changed, quiet)).action != "allow":
        assert found == decide("output", changed, verdict)


@given(stages, rules, scores)
def test_a_rule_sets_what_it_names_and_nothing_else(
    stage: Stage, rule: Rule, scores: dict[str, float]
) -> None:
    """A threshold alone keeps the stage's action, an action alone its threshold."""
    bare = stage.model_copy(update={"categories": {"a": rule}})
    threshold, action = bare.rule("a")
    assert threshold == (stage.threshold if rule.threshold is None else rule.threshold)
    assert action == (rule.action or stage.action)
    verdict = Verdict("1", Label.NEITHER, "j", {"a": scores["a"]})
    found = decide("output", bare, verdict)
    assert found.action == (action if scores["a"] >= threshold else "allow")


@given(stages, st.sampled_from(STAGES[1:]), st.integers(1, 9), st.booleans())
def test_a_policy_that_is_written_down_is_read_back(
    stage: Stage, name: str, turns: int, decode: bool
) -> None:
    """With every default in it, as calibration writes it."""
    values = {"name": "mine", "refusal": "No.", "turns": turns, "decode": decode, "input": {}}
    try:
        policy = Policy.model_validate(values | {name: stage})
    except ValidationError:
        assert name != "output"
        return
    written = yaml.safe_dump(policy.model_dump(mode="json", exclude_none=True))
    assert Policy.model_validate_json(json.dumps(yaml.safe_load(written))) == policy


def test_every_key_is_described_for_editors() -> None:
    """And in the catalogue's table."""
    schema = Policy.model_json_schema()
    for place in (schema, *schema["$defs"].values()):
        for key, one in place["properties"].items():
            assert one.get("description"), key
            assert f"`{key}`" in README or key == "null"
