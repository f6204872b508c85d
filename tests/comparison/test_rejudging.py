"""Judging is separate from generating: a finished run is judged again, and judges are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import done, refused

from comparison.conftest import Comparison
from comparison.given import OWN
from safeft.comparison.answers import open_stored, places
from safeft.comparison.rejudging import agreement, rejudge
from safeft.comparison.rules import identities, refuse_changed
from safeft.errors import RunError
from safeft.judges import load_judge
from safeft.records import Label
from safeft.runs import open_run, write_json


def test_another_judge_joins_the_report(copied: Comparison) -> None:
    """Every stored answer is judged, nothing is generated, and the former figures stay."""
    before = json.loads((copied.output / "estimates.json").read_text())["estimates"]
    texts = {path: path.stat().st_mtime_ns for path in copied.output.rglob("responses.*")}
    done("judge", "run", copied.output, "--judge", "encoder")
    after = json.loads((copied.output / "estimates.json").read_text())["estimates"]
    assert [row for row in after if row["judge"] != "encoder"] == before
    assert {row["recipe"] for row in after if row["judge"] == "encoder"} >= {"baseline", "untuned"}
    assert {path: path.stat().st_mtime_ns for path in copied.output.rglob("responses.*")} == texts


def test_the_original_command_keeps_the_judge(copied: Comparison) -> None:
    """Resuming writes the report again, with all judges that the run was ever given."""
    done("judge", "run", copied.output, "--judge", "encoder")
    wanted = (copied.output / "report.csv").read_text()
    (copied.output / "report.csv").unlink()
    done(*copied.arguments())
    assert (copied.output / "report.csv").read_text() == wanted


def test_a_judge_of_ones_own_counts_what_it_does_not_read(
    copied: Comparison, tmp_path: Path
) -> None:
    """A model that answers in prose: unread verdicts have a rate of their own."""
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(OWN))
    document, _ = rejudge(copied.output, str(path))
    files = list(copied.output.rglob("verdicts.mine.none.jsonl"))
    assert len(files) == len(list(copied.output.rglob("responses.none.jsonl")))
    unread = [e for e in document.estimates if e.row.metric == "unread_rate"]
    assert any(e.row.judge == str(path) and e.value.estimate > 0 for e in unread)
    assert document.heading("fulfilment_rate", str(path)).startswith("harmful content")


def test_two_judges_are_compared_on_the_same_answers(copied: Comparison) -> None:
    """κ with its interval, the table, and on request every prompt on which they differ."""
    done("judge", "run", copied.output, "--judge", "encoder")
    found = agreement(copied.output, "keyword", "encoder")
    every = sum(len(place.prompts) for place in places(open_stored(copied.output)))
    assert sum(found.table.values()) == every  # this run has no guardrail
    differing = sum(count for (a, b), count in found.table.items() if a != b)
    assert len(found.differing) == differing
    out = done("judge", "compare", copied.output, "--judges", "keyword,encoder", "--list").out
    assert out.startswith("κ ") and len(out.splitlines()) == 2 + len(found.table) + differing
    assert "note: keyword reads refusal, encoder fulfilment" in out


def test_a_score_is_not_compared_with_verdicts(copied: Comparison) -> None:
    """Toxic or not is another matter than refused or not: no κ between them is printed."""
    done("judge", "run", copied.output, "--judge", "toxicity")
    said = refused("judge", "compare", copied.output, "--judges", "keyword,toxicity")
    assert "judge 'toxicity' scores toxicity" in said


def test_a_killed_judge_goes_on(copied: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts are written file by file: what was judged is not judged again."""
    asked: list[int] = []

    class Counting:
        name, measures = "counting@1", "refusal"

        def __call__(self, responses: Any) -> Any:
            from safeft.records import Verdict

            asked.append(len(responses))
            if len(asked) == 3:
                raise KeyboardInterrupt
            return [Verdict(one.prompt.id, Label.REFUSED, self.name) for one in responses]

    for module in ("rejudging", "rules", "notes", "readings"):
        real = __import__(f"safeft.comparison.{module}", fromlist=["load_judge"]).load_judge
        monkeypatch.setattr(
            f"safeft.comparison.{module}.load_judge",
            lambda name, real=real: Counting() if name == "counting" else real(name),
        )
    with pytest.raises(KeyboardInterrupt):
        rejudge(copied.output, "counting")
    rejudge(copied.output, "counting")
    every = sum(len(place.prompts) for place in places(open_stored(copied.output)))
    assert sum(asked) == every + asked[2]


def test_pruned_texts_are_not_judged(copied: Comparison) -> None:
    """Committed results hold no texts: one message, and nothing is written."""
    for path in copied.output.rglob("responses.*"):
        path.unlink()
    with pytest.raises(RunError, match="the texts are gone"):
        rejudge(copied.output, "encoder")
    assert not list(copied.output.rglob("verdicts.encoder.*"))


def test_a_judge_that_was_not_asked_is_named(copied: Comparison) -> None:
    """With the command that asks it."""
    with pytest.raises(RunError, match="safeft judge run RUN --judge encoder"):
        agreement(copied.output, "keyword", "encoder")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda run: write_json(run / "manifest.json", {}), "is no comparison or evaluation"),
        (
            lambda run: write_json(run / "manifest.json", {"config": {"comparison": {"x": 1}}}),
            "another version of safeft, or by hand",
        ),
        (lambda run: run.mkdir(), "holds no run"),
        (lambda run: run / "gone", "holds no run"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    """As everywhere."""
    make(tmp_path / "run")
    with pytest.raises(RunError, match=words):
        open_stored(tmp_path / "run")


def test_an_edited_suite_is_not_mistaken_for_the_former(copied: Comparison) -> None:
    """The stored answers belong to the prompts that were asked."""
    manifest = json.loads((copied.output / "manifest.json").read_text())
    manifest["config"]["comparison"]["per_category"] = 2
    (copied.output / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="cells are not finished, or its suite"):
        rejudge(copied.output, "encoder")


def test_an_edited_judge_is_not_mixed_with_its_former_self(
    copied: Comparison, tmp_path: Path
) -> None:
    """Also when the first judging was cut short, before the manifest knew of it."""
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(OWN))
    rejudge(copied.output, str(path))
    manifest = json.loads((copied.output / "manifest.json").read_text())
    del manifest["judged_later"]
    write_json(copied.output / "manifest.json", manifest)
    path.write_text(json.dumps(OWN | {"max_new_tokens": 5}))
    with pytest.raises(RunError, match="restore the former"):
        rejudge(copied.output, str(path))


def test_a_judge_that_became_another_judges_anew(copied: Comparison, tmp_path: Path) -> None:
    """What it said before lies aside, the manifest knows the present one, and no text changed."""
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(OWN))
    rejudge(copied.output, str(path))
    texts = {one: one.read_bytes() for one in copied.output.rglob("responses.*")}
    before = {one: one.read_bytes() for one in copied.output.rglob("verdicts.mine.none.jsonl")}
    path.write_text(json.dumps(OWN | {"max_new_tokens": 5}))
    assert "--anew" in refused("judge", "run", copied.output, "--judge", path)
    done("judge", "run", copied.output, "--judge", path, "--anew")
    kept = {one: one.read_bytes() for one in copied.output.rglob("former/*.verdicts.mine.*")}
    assert sorted(kept.values()) == sorted(before.values())
    assert {one.parent.parent for one in kept} == {one.parent for one in before}
    now = {json.loads(one.read_text().splitlines()[0])["judge"] for one in before}
    assert now == {load_judge(str(path)).name}
    assert {one: one.read_bytes() for one in texts} == texts
    done(*copied.arguments())  # nothing speaks against the run any more


def test_a_judge_of_the_comparison_itself_judges_anew(
    copied: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is the present judge's then: the original command goes on with it."""
    monkeypatch.setattr("safeft.judges.keyword.identity", lambda *_: "keyword@next")
    with pytest.raises(RunError, match="--anew"):
        rejudge(copied.output, "keyword")
    rejudge(copied.output, "keyword", anew=True)
    matrix = open_stored(copied.output).matrix
    refuse_changed(copied.output, identities(matrix))
    open_run(copied.output, {"comparison": matrix.identity(), **identities(matrix)})


def test_nothing_is_set_aside_that_cannot_be_judged_again(
    copied: Comparison, tmp_path: Path
) -> None:
    """Without the texts the former verdicts are all there is."""
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(OWN))
    rejudge(copied.output, str(path))
    path.write_text(json.dumps(OWN | {"max_new_tokens": 5}))
    next(iter(copied.output.rglob("responses.none.jsonl"))).unlink()
    with pytest.raises(RunError, match="the texts are gone"):
        rejudge(copied.output, str(path), anew=True)
    assert not list(copied.output.rglob("former"))


def test_a_later_judge_that_is_gone_does_not_stop_the_report(
    copied: Comparison, tmp_path: Path
) -> None:
    """The original command goes on without it, and says so."""
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(OWN))
    rejudge(copied.output, str(path))
    path.unlink()
    done(*copied.arguments())
