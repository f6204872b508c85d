"""Laws of names: a judge or policy that has changed is never mixed into what was made before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import call, done, refused

from comparison.conftest import UNTRAINED, Guard, options
from safeft.comparison import load_matrix
from safeft.comparison.rules import identities, refuse_changed
from safeft.errors import RunError
from safeft.guarding.rows import marks
from safeft.judges import catalogue
from safeft.runs import open_run, read_json

POLICY = "name: mine\noutput: {{threshold: {}}}\ndecode: false\nrefusal: No.\n"


@dataclass(frozen=True)
class Run:
    """A comparison of the model as it is, behind a policy of one's own."""

    matrix: Path
    policy: Path
    output: Path

    @property
    def changes(self) -> list[str]:
        """What it sets in the shared YAML."""
        return [*UNTRAINED, f"policies=[{self.policy}]", "judges=[keyword, mine]"]

    @property
    def where(self) -> list[object]:
        """Its folder and its one worker."""
        return ["--output", self.output, "--workers", 1]

    def arguments(self) -> list[object]:
        """The command."""
        return ["compare", self.matrix, *options(*self.changes), *self.where]


@pytest.fixture
def run(
    matrix: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    guard_with: Callable[[type[Guard]], None],
) -> Run:
    """With two judges, one of which can be changed."""
    guard_with(Guard)
    monkeypatch.setattr("safeft.comparison.work._loaded_judge", catalogue.load_judge)
    monkeypatch.setitem(catalogue.SHIPPED, "mine", lambda: judge("mine@1"))
    (tmp_path / "mine.yaml").write_text(POLICY.format(0.5))
    return Run(matrix, tmp_path / "mine.yaml", tmp_path / "run")


def judge(name: str, rows: str = "") -> SimpleNamespace:
    """A judge of that name; nobody asks it anything."""
    made = Guard()
    return SimpleNamespace(name=name, measures="fulfilment", trained_on=rows, __call__=made)


def stand_in(run: Run) -> None:
    """What a run leaves first: its manifest and a cell."""
    named = identities(load_matrix(str(run.matrix), run.changes))
    (run.output / "cells/1").mkdir(parents=True)
    (run.output / "manifest.json").write_text(json.dumps({"config": named}))


def problem(run: Run) -> str:
    """Why the run cannot go on."""
    with pytest.raises(RunError) as caught:
        refuse_changed(run.output, identities(load_matrix(str(run.matrix), run.changes)))
    return str(caught.value)


def test_the_manifest_says_what_names_stand_for(run: Run) -> None:
    """The policy's words and numbers, the guard's weights, the judges' rules."""
    named = identities(load_matrix(str(run.matrix), run.changes))
    policy = named["policies"][str(run.policy)]
    assert (policy["output.threshold"], policy["refusal"], policy["guard"]) == (
        0.5,
        "No.",
        "guard@1",
    )
    assert named["judges"]["keyword"]["identity"].startswith("keyword@")
    assert named["judges"]["mine"] == {"identity": "mine@1"}
    assert json.loads(json.dumps(named)) == named


def test_nothing_has_changed_when_nothing_has_changed(run: Run) -> None:
    """And before anything was made, anything may change."""
    refuse_changed(run.output, identities(load_matrix(str(run.matrix), run.changes)))
    stand_in(run)
    refuse_changed(run.output, identities(load_matrix(str(run.matrix), run.changes)))


def test_an_edited_policy_is_refused(run: Run) -> None:
    """With the key, both values and the way out."""
    stand_in(run)
    run.policy.write_text(POLICY.format(0.25))
    said = problem(run)
    assert f"policy '{run.policy}': output.threshold was 0.5 and is 0.25" in said
    assert "restore what changed, or choose another --output" in said


def test_new_weights_of_the_guard_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy's file is the same, what it withholds is not."""
    stand_in(run)
    monkeypatch.setattr(Guard, "name", "guard@2")
    assert "guard was 'guard@1' and is 'guard@2'" in problem(run)


def test_a_changed_judge_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name in the matrix is the same, its identity is not."""
    stand_in(run)
    monkeypatch.setitem(catalogue.SHIPPED, "mine", lambda: judge("mine@2"))
    assert "judge 'mine': identity was 'mine@1' and is 'mine@2'" in problem(run)


def test_a_judge_that_judges_anew_costs_no_cell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever replaces the verdicts of a judge says so in the manifest, and the run goes on."""
    stand_in(run)
    monkeypatch.setitem(catalogue.SHIPPED, "mine", lambda: judge("mine@2"))
    manifest = read_json(run.output / "manifest.json")
    manifest["config"]["judges"]["mine"]["identity"] = "mine@2"
    (run.output / "manifest.json").write_text(json.dumps(manifest))
    refuse_changed(run.output, identities(load_matrix(str(run.matrix), run.changes)))


def test_rows_in_common_with_a_judge_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the cards' fingerprints, before anything is made; cards without them say nothing."""
    monkeypatch.setattr(Guard, "trained_on", marks(["I won't.", "Yes.", "Here it is."]))
    monkeypatch.setitem(catalogue.SHIPPED, "mine", lambda: judge("mine@1", marks(["I  won't."])))
    said = refused(*run.arguments())
    assert "guards with guard@1, which was trained on 1 rows of judge mine@1" in said
    assert not run.output.exists()


def test_the_command_refuses_to_mix(run: Run) -> None:
    """From end to end: a finished run, an edited policy; restored, it goes on."""
    keyword = (one for one in run.changes if "judges" not in one)
    command = ["compare", run.matrix, *options(*keyword), *run.where]
    done(*command)
    run.policy.write_text(POLICY.format(0.25))
    result = call(*command)
    assert result.code == 2
    assert result.err.count("error: ") == 1
    assert "output.threshold was 0.5 and is 0.25; its cells were made with the former" in result.err
    run.policy.write_text(POLICY.format(0.5))
    done(*command)


def test_a_manifest_from_before_says_so(run: Run) -> None:
    """Nobody knows which judge made it: it is another run."""
    asked = load_matrix(str(run.matrix), run.changes).identity()
    open_run(run.output, {"comparison": asked})
    (run.output / "cells/1").mkdir(parents=True)
    (run.output / "cells/1/cell.json").write_text("{}")
    assert "holds another run (differs in: judges, policies)" in refused(*run.arguments())
