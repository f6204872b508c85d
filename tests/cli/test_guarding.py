"""`safeft guard check`: says what a policy does, or in one message what is wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import done, refused

from safeft.assets import folder

SHIPPED = sorted(folder("guardrails").glob("*.yaml"))
EXAMPLES = {"gardening": ["Water the plants once a week."], "banking": ["Buy shares now."]}
OUTPUT = {"judge": "examples", "examples": EXAMPLES, "threshold": 0.7}


def written(tmp_path: Path, **changes: Any) -> Path:
    """A policy of one's own, whose judge compares answers with examples."""
    path = tmp_path / "mine.yaml"
    values = {"name": "mine", "refusal": "Not today.", "output": OUTPUT} | changes
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_policy_can_be_checked_by_name(path: Path) -> None:
    """Its judges exist and score every category that it names."""
    said = done("guard", "check", path.stem).out
    assert said.startswith(f"Policy {path.stem} reads ")
    for stage in yaml.safe_load(path.read_text()).values():
        if isinstance(stage, dict):
            assert f"\njudge {stage['judge']}: " in said


def test_a_policy_of_ones_own_is_explained_with_its_judges(tmp_path: Path) -> None:
    """Who they are, and what they score."""
    said = done("guard", "check", written(tmp_path)).out
    assert "gardening from 0.7 on: block" in said
    assert "Refusal: Not today." in said
    assert "judge examples: examples@" in said
    assert said.rstrip().endswith("scores banking, gardening")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ouput": {}}, "ouput: unknown key; did you mean 'output'?"),
        ({"output": OUTPUT | {"treshold": 1}}, "output.treshold: unknown key"),
        ({"output": OUTPUT | {"categories": {"gardning": {}}}}, "did you mean 'gardening'?"),
        ({"output": {"judge": "encoder-gard"}}, "did you mean 'encoder-guard'?"),
        ({"output": OUTPUT | {"examples": {}}}, "belong together"),
        ({"input": {**OUTPUT, "action": "redact"}}, "input: redact is for output alone"),
    ],
)
def test_a_wrong_policy_gets_one_message(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """Exit code 2, the file, the key, the nearest name; and nothing of an explanation."""
    path = written(tmp_path, **changes)
    said = refused("guard", "check", path)
    assert str(path) in said
    assert words in said


def test_an_unknown_policy_names_those_that_ship() -> None:
    """As everywhere else."""
    assert "did you mean 'strict'?" in refused("guard", "check", "strikt")
    assert "check" in refused("guard", "chek", "strict")


def test_checking_asks_no_model(tmp_path: Path) -> None:
    """Neither does it load what would run one."""
    code = (
        "import sys; from safeft.cli import _run\n"
        f"assert _run(['guard', 'check', {str(written(tmp_path))!r}]) == 0\n"
        "print('MODELS', [one for one in sys.modules if 'modeling_bert' in one])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("MODELS []\n")


def test_sub_commands_are_listed_and_load_when_they_are_called() -> None:
    """Also the ones that have a module of their own."""
    said = done("guard", "--help").out
    assert "check" in said
    assert "calibrate" in said
    assert done("guard", "calibrate", "--help").out.startswith("Usage: safeft guard calibrate ")


def test_the_schema_of_policies_can_be_printed() -> None:
    """With the keys of a stage and of a rule."""
    schema = json.loads(done("schema", "policy").out)
    assert {"input", "output", "reasoning", "tool_calls"} <= {*schema["properties"]}
    assert {"Stage", "Rule", "Escalation"} <= {*schema["$defs"]}
    assert schema["$defs"]["Stage"]["additionalProperties"] is False
