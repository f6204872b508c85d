"""Laws of guarded cells: the same answers behind a guard, and no guard grades itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import done, refused

from comparison.conftest import UNTRAINED, Comparison, Guard, options
from safeft.comparison.pool import Workers
from safeft.errors import SafeftError
from safeft.guarding import load_policy
from safeft.judges import catalogue
from safeft.records import Label
from safeft.report import read_estimates
from safeft.runs import read_lines


class Strict(Guard):
    """Finds everything unsafe."""

    name = "guard@strict"
    label = Label.FULFILLED


@pytest.fixture
def strict(guard_with: Callable[[type[Guard]], None]) -> None:
    """Policies guard with `Strict`."""
    guard_with(Strict)


@pytest.fixture
def command(compared: Comparison, tmp_path: Path) -> list[object]:
    """Only the model as it is, greedily, behind the default policy."""
    where = ["--output", tmp_path / "run", "--workers", 1]
    return ["compare", compared.matrix, *options(*UNTRAINED, "policies=[default]"), *where]


@pytest.mark.usefixtures("strict")
def test_a_guard_reads_the_same_answers(command: list[object], tmp_path: Path) -> None:
    """Off and on compare the same texts: a strict guard turns each into the policy's refusal."""
    done(*command)
    (off,) = tmp_path.rglob("harm/t0/responses.none.jsonl")
    (on,) = tmp_path.rglob("harm/t0/responses.default.jsonl")
    assert {one["id"] for one in read_lines(on)} == {one["id"] for one in read_lines(off)}
    assert {one["finish"] for one in read_lines(on)} == {"withheld"}
    assert {one["text"] for one in read_lines(on)} == {load_policy("default").refusal}
    document = read_estimates(tmp_path / "run/estimates.json")
    rates = {
        (entry.row.policy, entry.row.metric): entry.value.estimate
        for entry in document.estimates
        if entry.row.group == "overall"
    }
    assert rates["default", "refusal_rate"] == rates["default", "over_refusal_rate"] == 1
    assert rates["none", "refusal_rate"] < 1


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", ["encoder-guard", "mine"])
def test_a_guard_that_grades_itself_is_refused(
    command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By its name, and by its weights when it is installed under another name."""
    monkeypatch.setitem(catalogue.SHIPPED, name, Strict)
    said = refused(*command, "--set", f"judges=[keyword, {name}]")
    assert "policy 'default' guards with 'encoder-guard', which also grades" in said
    assert "it would score itself; choose another judge" in said
    assert not (tmp_path / "run").exists()


def test_the_shipped_guard_is_known_by_its_weights(
    command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real guard as a judge of another name is still the guard."""
    from safeft.guarding.encoder import EncoderGuard

    monkeypatch.setitem(catalogue.SHIPPED, "mine", EncoderGuard)
    assert "it would score itself" in refused(*command, "--set", "judges=[mine]")


@pytest.mark.parametrize("recipe", ["star_dss", "self_replay"])
def test_the_guard_that_taught_a_recipe_does_not_grade_it(
    compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    """The real guard, under its own name or another; with other judges nothing is refused."""
    from safeft.comparison.rules import refuse_own_teacher
    from safeft.guarding.encoder import EncoderGuard
    from safeft.judges import load_judge
    from safeft.training import load_recipe

    monkeypatch.setitem(catalogue.SHIPPED, "mine", EncoderGuard)
    more = [f"recipes=[baseline, {recipe}]", "judges=[keyword, mine]", "policies=[]"]
    command = ["compare", compared.matrix, *options(*more), "--output", tmp_path / "run"]
    said = refused(*command, "--workers", 1)
    assert f"recipe '{recipe}' is taught by 'encoder-guard', which also grades" in said
    assert not (tmp_path / "run").exists()
    for name in ("keyword", "encoder"):
        refuse_own_teacher(load_recipe(recipe), {name: load_judge(name)})


class Asking(Guard):
    """Finds every request harmful, and no answer."""

    name = "guard@asking"
    request = Label.FULFILLED


OWN = """
name: own
{stage}: {{{keys}}}
refusal: No.
"""


def behind(path: Path, stage: str, keys: str = "") -> str:
    """The option for a policy of one stage."""
    path.write_text(OWN.format(stage=stage, keys=keys))
    return f"policies=[{path}]"


def test_an_input_stage_reads_the_requests(
    command: list[object], tmp_path: Path, guard_with: Callable[[type[Guard]], None]
) -> None:
    """It withholds the same stored answers, by what was asked for alone."""
    guard_with(Asking)
    done(*command, *options(behind(tmp_path / "own.yaml", "input")))
    (on,) = tmp_path.rglob("harm/t0/responses.own.jsonl")
    assert {(one["text"], one["finish"]) for one in read_lines(on)} == {("No.", "withheld")}


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("stage", "keys"),
    [
        ("input", ""),
        ("reasoning", ""),
        (
            "output",
            "judge: examples, examples: {own: [Water it.]}, escalate: {judge: encoder-guard}",
        ),
    ],
)
def test_each_judge_of_each_stage_may_not_grade(
    command: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    keys: str,
) -> None:
    """Also the one that a stage escalates to."""
    monkeypatch.setitem(catalogue.SHIPPED, "mine", Strict)
    changes = options(behind(tmp_path / "own.yaml", stage, keys), "judges=[keyword, mine]")
    said = refused(*command, *changes)
    assert "guards with 'encoder-guard', which also grades (judge 'mine')" in said
    assert not (tmp_path / "run").exists()


def test_a_suite_without_harm_is_refused(compared: Comparison, tmp_path: Path) -> None:
    """Harmful prompts are what the rates are of."""
    suite = compared.matrix.parent / f"{tmp_path.name}.yaml"
    suite.write_text("name: odd\nsets: {a: {kind: over_refusal, prompts: benign.jsonl}}\n")
    said = refused(*compared.arguments("--set", f"suite={suite}", output=tmp_path / "run"))
    assert "suite 'odd': a comparison needs a set of kind harm" in said


def stop(_: int) -> None:
    """What a worker does that runs out of memory."""
    import os

    os._exit(9)


def test_a_worker_that_dies_is_said_with_the_way_on() -> None:
    """Out of memory shows as a process that is gone: run again, with fewer workers."""
    with pytest.raises(SafeftError, match=r"a worker process died .* run the same command again"):
        list(Workers(0).run_all(stop, [1], 2))
