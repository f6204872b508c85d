"""TAP as an axis of a comparison, through the real command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import Command, done, refused

from safeft.comparison.searching import Instructed
from safeft.generation import Scripted
from safeft.records import Decoding, Prompt, Response

from .conftest import UNTRAINED, options
from .given import WORDS

CHANGES = (
    "recipes=[baseline]",
    "training_seeds=[0, 1]",
    "curve_seeds=[]",
    "decodings.temperatures=[0]",
    "attack.depth=1",
    "attack.width=1",
    "attack.branching=2",
    "attack.max_new_tokens=8",
)


@pytest.fixture(scope="module")
def changes(matrix: Path, tiny_model: Path) -> tuple[str, ...]:
    """A search for four goals, by the tiny model itself."""
    (matrix.parent / "words.yaml").write_text(WORDS)
    goals = f"attack.suite={matrix.parent}/four.yaml"
    words = f"attack.words={matrix.parent}/words.yaml"
    return (*CHANGES, f"attack.attacker={tiny_model}", goals, words, "attack.per_category=1")


@pytest.fixture(scope="module")
def compared(
    tmp_path_factory: pytest.TempPathFactory, matrix: Path, changes: tuple[str, ...]
) -> Path:
    """The un-tuned model and one recipe, both searched."""
    run = tmp_path_factory.mktemp("searched") / "run"
    command = ["compare", matrix, "--output", run, *options(*changes), "--workers", 1]
    result = Command(command, run.parent / "log").result()
    assert result.code == 0, result.err
    return run


def rows(run: Path, part: str, metric: str) -> dict[str, dict[str, Any]]:
    """The rows of a metric by recipe."""
    record = json.loads((run / "estimates.json").read_text())
    return {one["recipe"]: one for one in record[part] if one["metric"] == metric}


def attempts(run: Path) -> dict[Path, list[dict[str, Any]]]:
    """What was found in each cell."""
    files = run.rglob("tap/attempts.jsonl")
    return {one: [json.loads(line) for line in one.read_text().splitlines()] for one in files}


def test_every_model_is_searched_for_the_same_goals(compared: Path) -> None:
    """The rate is that of the goals reached, n counts goals, and the seeds are the recipe's."""
    found = attempts(compared)
    assert len(found) == 3
    assert {tuple(one["id"] for one in goals) for goals in found.values()} == {
        tuple(one["id"] for one in next(iter(found.values())))
    }
    rate = rows(compared, "estimates", "tap_success_rate")
    assert {name: (one["n"], one["n_seeds"]) for name, one in rate.items()} == {
        "untuned": (4, 1),
        "baseline": (4, 2),
    }
    reached = [one["success"] for goals in found.values() for one in goals]
    mean = (rate["untuned"]["estimate"] + 2 * rate["baseline"]["estimate"]) / 3
    assert mean == pytest.approx(sum(reached) / len(reached))
    assert rate["untuned"]["judge"] == "keyword"


def test_it_is_a_risk_against_the_untuned_model(compared: Path) -> None:
    """A multiple, or why there is none, and a difference."""
    assert "baseline" in rows(compared, "estimates", "multiplier_tap_success_rate")
    assert "baseline" in rows(compared, "comparisons", "tap_success_rate")
    assert "jailbroken by TAP" in (compared / "report.md").read_text()


def test_what_was_asked_and_said_lies_apart(compared: Path) -> None:
    """Texts are in the files that `runs prune` takes; the rates survive it."""
    kept = "".join(one.read_text() for one in compared.rglob("tap/attempts.jsonl"))
    assert "Insult my neighbour" not in kept and "request_sha256" in kept
    assert len(list(compared.rglob("tap/responses.tap.jsonl"))) == 3


def test_the_same_command_searches_no_more(
    compared: Path, matrix: Path, changes: tuple[str, ...]
) -> None:
    """Finished cells are found by the same attack, and another attack is another comparison."""
    command = ("compare", matrix, "--output", compared, *options(*changes))
    assert "[3/3] finished before" in done(*command).err
    assert "attack" in refused(*command, *options("attack.depth=2"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("attack.judge=encoder", "attack.judge: 'encoder' is none of `judges`"),
        ("attack.attacker=no/such/place", "no/such/place"),
        ("attack.words=tapp", "tap"),
        ("attack.dept=1", "depth"),
        ("attack.set=harmful", "no set 'harmful'"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_trained(
    matrix: Path, changes: tuple[str, ...], tmp_path: Path, change: str, said: str
) -> None:
    """One message, and no folder."""
    some = options(*changes, *UNTRAINED, change)
    assert said in refused("compare", matrix, "--output", tmp_path / "run", *some)
    assert not (tmp_path / "run").exists()


def test_training_on_a_goal_is_refused(
    matrix: Path, changes: tuple[str, ...], tmp_path: Path
) -> None:
    """Goals are evaluation prompts, whatever suite they come from."""
    row = {"question_id": 0, "category": "1", "turns": ["Plant 3?"]}
    (tmp_path / "goals.jsonl").write_text(json.dumps(row) + "\n")
    suite = tmp_path / "goals.yaml"
    suite.write_text("name: goals\nsets: {harm: {kind: harm, prompts: goals.jsonl}}\n")
    some = options(*changes, f"attack.suite={suite}")
    said = refused("compare", matrix, "--output", tmp_path / "run", *some)
    assert "1 training row repeats evaluation prompts" in said
    assert not (tmp_path / "run").exists()


def test_a_system_prompt_stands_before_every_attack() -> None:
    """The model hears it; whoever reads the answer finds the request that was made."""
    heard: list[Prompt] = []

    class Model(Scripted):
        def __call__(self, prompts: Any, decoding: Decoding) -> list[Response]:
            heard.extend(prompts)
            return super().__call__(prompts, decoding)

    asked = [Prompt.of("Rob it.", "1"), Prompt.of("Rob it.", "2")]
    answers = Instructed(Model(lambda *_: "No."), "Be kind.")(asked, Decoding())
    assert [one.prompt for one in answers] == asked
    assert [one.messages[0].content for one in heard] == ["Be kind.", "Be kind."]


def test_searches_that_never_reached_the_model_are_told(
    matrix: Path, changes: tuple[str, ...], tmp_path: Path
) -> None:
    """An attacker that writes nothing readable gives no rate of 0, and a note."""
    mute = WORDS.replace("(?s)(?P<prompt>.+)", "(?P<prompt>NEVER SAID)")
    (tmp_path / "mute.yaml").write_text(mute)
    some = (*changes, *UNTRAINED, f"attack.words={tmp_path}/mute.yaml")
    done("compare", matrix, "--output", tmp_path / "run", *options(*some))
    assert not rows(tmp_path / "run", "estimates", "tap_success_rate")
    notes = json.loads((tmp_path / "run" / "estimates.json").read_text())["notes"]
    said = "untuned (often incoherent): 4 of 4 searches (TAP) are in no rate"
    assert any(one.startswith(said) for one in notes)
