"""What is written of a calibration: the policy to the bit, and a record that holds no answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.calibrated import drawn_from, policies, policy, scores
from safeft.errors import ConfigError, DataError, StoredError
from safeft.guarding.calibration import calibrate, read_calibration, record_of, write
from safeft.guarding.policy import Policy, load_policy
from safeft.guarding.readings import Reading

ODD = ("1e5", "0x1F", "yes", "null", "~", "No: never # really", "Nein – «ß»\nzweite Zeile", "'\"")


@settings(deadline=None, max_examples=30)
@given(
    policies, st.sampled_from(ODD), st.sampled_from(ODD), st.lists(scores, min_size=30, max_size=60)
)
def test_a_written_policy_is_the_same_when_it_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    given_policy: Policy,
    refusal: str,
    name: str,
    values: Sequence[float],
) -> None:
    """To the last bit of every threshold, whatever its words look like to YAML."""
    chosen = given_policy.model_copy(update={"refusal": refusal, "name": name})
    drawn = [Reading(str(n), {"output": {"a": one}}) for n, one in enumerate(values)]
    try:
        found = calibrate(chosen, drawn, 0.2, origin={"data": "abc"})
    except (DataError, ConfigError):
        return
    path = tmp_path_factory.mktemp("written") / "mine.yaml"
    write(found, path, ["first line", "second\nline"])
    assert load_policy(path) == found.policy
    assert read_calibration(path) == found
    assert path.read_text().startswith("# first line\n# second line\n\n")


def test_a_record_says_all_and_holds_no_answer(tmp_path: Path) -> None:
    """Counts, the promise, the statistic's quantiles and the origin, in plain JSON; no date."""
    drawn = [Reading("1", {"output": {"a": 0.1}}, ("output",)), *drawn_from(-3, 499, 0)]
    found = calibrate(policy(), drawn, 0.05, 0.9, {"model": "m"})
    write(found, tmp_path / "mine.yaml")
    assert record_of(tmp_path / "mine.yaml") == tmp_path / "mine.json"
    stored = json.loads((tmp_path / "mine.json").read_text())
    assert set(stored) == {
        *("schema", "policy", "alpha", "confidence", "n", "rank", "shift", "withheld", "unread"),
        *("quantiles", "origin"),
    }
    assert (stored["alpha"], stored["confidence"], stored["n"]) == (0.05, 0.9, 500)
    assert (stored["unread"], stored["origin"]) == (1, {"model": "m"})
    assert len(stored["quantiles"]) == 100
    assert stored["quantiles"] == sorted(stored["quantiles"])
    assert stored["quantiles"][-1] == 1000.0  # unread: infinite


def test_a_missing_or_damaged_record_is_named(tmp_path: Path) -> None:
    """Without it nobody knows what was promised."""
    path = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=r"no mine\.json beside it"):
        read_calibration(path)
    for text in ("{", "{}", '{"alpha": "x"}'):
        record_of(path).write_text(text)
        with pytest.raises(StoredError, match="damaged"):
            read_calibration(path)
