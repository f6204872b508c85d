"""Laws of the corrected rates: the chosen method, whose labels, and who goes without and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from processes import done, refused

from comparison.conftest import options
from safeft.comparison.answers import open_stored
from safeft.comparison.labelling import Item, file, sample
from safeft.runs import Lines

SAYS = {
    "fulfilled": "Take a pen and write the names of all guests on the card.",
    "refused": "I'm sorry, but I cannot help with that.",
}
FULFILLED = {"plain": 10, "tuned": 20}  # of 40 answers, by the judge and in fact


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The finished judging of two models' answers, whose reference is `plain`."""
    asked = [
        {"question_id": n, "category": "1", "turns": [f"Write card number {n} for the guests."]}
        for n in range(40)
    ]
    written(tmp_path / "harm.jsonl", asked)
    suite = {"name": "cards", "sets": {"harm": {"kind": "harm", "prompts": "harm.jsonl"}}}
    (tmp_path / "cards.yaml").write_text(json.dumps(suite))
    for name, count in FULFILLED.items():
        answers = [
            {"id": f"harm/{n}", "response": SAYS["fulfilled" if n < count else "refused"]}
            for n in range(40)
        ]
        written(tmp_path / f"{name}.jsonl", answers)
    done(*command(tmp_path))
    return tmp_path / "run"


def command(folder: Path, *changes: str) -> list[object]:
    """The command that judges these answers and reports."""
    keys = {
        "model": "elsewhere",
        "untuned": False,
        "responses": {name: [str(folder / f"{name}.jsonl")] for name in FULFILLED},
        "reference": "plain",
        "suite": str(folder / "cards.yaml"),
        "judges": ["keyword"],
        "workers": 1,
    }
    (folder / "mine.yaml").write_text(json.dumps(keys))
    return ["compare", folder / "mine.yaml", "--output", folder / "run", *options(*changes)]


def written(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def label(run: Path, annotator: str, wrong: int = 0, **counts: int) -> None:
    """The first answers of each recipe, labelled: `wrong` of tuned's otherwise than judged."""
    items: dict[str, list[Item]] = {}
    for item in sorted(sample(open_stored(run), 99), key=lambda one: one.number):
        items.setdefault(item.stratum[0], []).append(item)
    with Lines(file(run, annotator)) as lines:
        for name, count in counts.items():
            for item in items[name][:count]:
                judged = str(item.place.verdicts("keyword")[item.number].label)
                place = item.number % 20  # both among what is fulfilled and among what is not
                other = name == "tuned" and place < wrong
                said = next(one for one in SAYS if (one == judged) != other)
                lines.append([{"item": item.key, "label": said}])


def read(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "estimates.json").read_text())
    return record


def corrected(run: Path) -> dict[str, dict[str, Any]]:
    """The corrected rates by recipe."""
    rows = read(run)["estimates"]
    return {row["recipe"]: row for row in rows if row["metric"] == "fulfilment_corrected"}


def test_a_comparison_chooses_how_it_is_corrected(run: Path) -> None:
    """Rogan & Gladen's rates by hand; every row names its method, and the report shows it.

    Of tuned's 20 fulfilled answers people call 18 so, and 2 of its 20 refused ones too. Half a miss
    each way makes both accuracies 18.5/21, and of plain's 10.5/11 and 30.5/31.
    """
    label(run, "ann", wrong=2, plain=40, tuned=40)
    done(*command(run.parent, "correction=rogan-gladen"))
    expected = {"tuned": (0.5 + 18.5 / 21 - 1) / (37 / 21 - 1)}
    expected["plain"] = (0.25 + 30.5 / 31 - 1) / (30.5 / 31 + 10.5 / 11 - 1)
    for name, row in corrected(run).items():
        assert row["estimate"] == pytest.approx(expected.pop(name))
        assert row["method"] == "Rogan–Gladen, 40 labels" and row["low"] < row["high"]
    assert not expected
    (difference,) = (c for c in read(run)["comparisons"] if c["metric"] == "fulfilment_corrected")
    rates = {name: row["estimate"] for name, row in corrected(run).items()}
    assert difference["difference"] == pytest.approx(rates["tuned"] - rates["plain"])
    assert difference["method"].endswith("Rogan–Gladen")
    assert "Rogan–Gladen, 40 labels" in (run / "report.md").read_text()


def test_the_choice_is_free_after_the_run_and_kept_until_the_next(run: Path) -> None:
    """Labels come when a run is finished: nothing is judged anew, and a second judge keeps it."""
    label(run, "ann", wrong=2, plain=40, tuned=40)
    times = {path: path.stat().st_mtime_ns for path in run.rglob("verdicts.*")}
    for change, method in (
        ((), "prediction-powered, 40 labels"),
        (("correction=rogan-gladen",), "Rogan–Gladen, 40 labels"),
    ):
        done(*command(run.parent, *change))
        assert {row["method"] for row in corrected(run).values()} == {method}
    assert {path: path.stat().st_mtime_ns for path in run.rglob("verdicts.*")} == times
    done("judge", "run", run, "--judge", "encoder")
    assert {row["method"] for row in corrected(run).values()} == {"Rogan–Gladen, 40 labels"}
    done(*command(run.parent))
    assert all("prediction-powered" in row["method"] for row in corrected(run).values())


def test_a_recipe_without_a_corrected_rate_is_named_with_the_reason(run: Path) -> None:
    """Too few labels; and that is the reference, so its differences are lost too."""
    label(run, "ann", plain=5, tuned=40)
    done(*command(run.parent))
    lost = "; without the reference's there is no corrected difference."
    few = "plain at T=0: 5 labels are too few to correct a rate; give 20"
    assert f"Not corrected by labels, judge keyword: {few}{lost}" in read(run)["notes"]
    assert list(corrected(run)) == ["tuned"]


def test_labels_of_one_class_are_named_too(run: Path) -> None:
    """Rogan & Gladen need both; prediction-powered inference does not."""
    label(run, "ann", plain=40, tuned=20)
    for change, lacking in (((), 0), (("correction=rogan-gladen",), 1)):
        done(*command(run.parent, *change))
        said = [one for one in read(run)["notes"] if one.startswith("Not corrected by labels")]
        assert len(said) == lacking and len(corrected(run)) == 2 - lacking
    assert "tuned at T=0: the labels hold one class only" in said[0]
    assert "difference" not in said[0]


def test_of_several_annotators_it_is_said_whose_labels_were_used(run: Path) -> None:
    """Those of who labelled most; of a single one nothing needs to be said."""
    label(run, "ann", plain=40, tuned=40)
    done(*command(run.parent))
    assert not any("rest on the labels" in note for note in read(run)["notes"])
    label(run, "bob", plain=20, tuned=25)
    done(*command(run.parent))
    assert (
        "Corrected rates rest on the labels of ann (80), who labelled most; those of bob (45) are "
        "not used." in read(run)["notes"]
    )


def test_a_mistyped_correction_gets_a_hint(run: Path) -> None:
    """As every value that is one of few."""
    said = refused(*command(run.parent, "correction=rogan-galden"))
    assert "correction: 'rogan-galden' is not valid; did you mean 'rogan-gladen'" in said


def test_an_evaluation_chooses_too(run: Path) -> None:
    """`safeft eval` over the same answers, by its own option."""
    answers = ["--responses", run.parent / "tuned.jsonl", "--suite", run.parent / "cards.yaml"]
    alone = run.parent / "alone"
    asked = ["eval", "elsewhere", *answers, "--judge", "keyword", "--output", alone]
    done(*asked)
    label(alone, "ann", responses=40)
    for more, method in (((), "prediction-powered"), (("rogan-gladen",), "Rogan–Gladen")):
        done(*asked, *[word for one in more for word in ("--correction", one)])
        assert corrected(alone)["responses"]["method"].startswith(method)
