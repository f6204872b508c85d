"""Policies: the shipped ones load, and a wrong one says where and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from safeft.assets import folder
from safeft.errors import ConfigError
from safeft.guarding import Policy, load_policy

GOOD = {"name": "mine", "judge": "encoder-guard", "threshold": 0.5, "refusal": "No."}
SHIPPED = sorted(folder("guardrails").glob("*.yaml"))


def write(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "mine.yaml"
    values = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(values))
    return path


def test_one_policy_ships() -> None:
    assert [path.name for path in SHIPPED] == ["default.yaml"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_policies_load_under_their_own_name_and_fail_closed(path: Path) -> None:
    policy = load_policy(path.stem)
    assert policy == load_policy(path)
    assert policy.name == path.stem
    assert policy.on_error == "closed"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_catalogue_lists_every_policy(path: Path) -> None:
    assert f"({path.name})" in (folder("guardrails") / "README.md").read_text()


def test_guardrails_holds_data_only() -> None:
    kinds = {path.suffix for path in folder("guardrails").rglob("*") if path.is_file()}
    assert kinds == {".yaml", ".md"}


def test_a_policy_of_ones_own_loads_and_closes_by_default(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path)).on_error == "closed"
    assert load_policy(write(tmp_path, on_error="open")).on_error == "open"
    assert load_policy(str(write(tmp_path, threshold=1))).threshold == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"treshold": 0.4}, "treshold: unknown key; did you mean 'threshold'?"),
        ({"threshold": "0.5"}, "threshold: Input should be a valid number, not '0.5'"),
        ({"threshold": 1.5}, "threshold: Input should be less than or equal to 1"),
        ({"threshold": float("nan")}, "threshold: "),
        ({"threshold": None}, "threshold: missing; add it"),
        ({"threshold": True}, "threshold: "),
        ({"on_error": "close"}, "on_error: 'close' is not valid; did you mean 'closed'?"),
        ({"judge": "encoder"}, "judge: 'encoder' is not valid; did you mean 'encoder-guard'?"),
        ({"refusal": ""}, "refusal: String should have at least 1 character"),
        ({"name": 3}, "name: Input should be a valid string"),
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


def test_an_absent_policy_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        load_policy("defaults")
    with pytest.raises(ConfigError, match="guardrails"):
        load_policy("nowhere/mine.yaml")


def test_a_policy_cannot_be_changed_after_reading() -> None:
    policy = load_policy("default")
    with pytest.raises(ValidationError):
        policy.threshold = 0.9  # type: ignore[misc]
    assert isinstance(policy, Policy)
