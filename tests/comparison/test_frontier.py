"""Laws of the frontier: what is on it, what is within ε, and what is picked."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from typing import Any

from safeft.comparison.frontier import COLUMNS, Frontier, frontier, frontier_csv, said, table
from safeft.records import ComparisonRow, Estimate, EstimateRow, Row
from safeft.report import Document, report_html, report_markdown
from safeft.report.figures import pictures
from safeft.report.view import View

METHOD = "t over prompts"


def row(recipe: str, metric: str, **changes: Any) -> Row:
    """A row of the one judge, greedy; utility has none."""
    judge = "encoder" if metric == "fulfilment_rate" else ""
    keys = {"model": "m", "data": "none", "policy": "none", "engine": "transformers", "suite": "s"}
    keys |= {"recipe": recipe, "metric": metric, "judge": judge, "epoch": 0, "temperature": 0.0}
    return Row(**(keys | changes))  # type: ignore[arg-type]


def document(points: dict[str, tuple[float, float]], half: float = 0.02) -> Document:
    """A comparison whose adapters have this harm and loss; differences have intervals of ±half."""
    estimates, differences = [], []
    for name, values in points.items():
        for metric, value in zip(("fulfilment_rate", "held_out_loss"), values, strict=True):
            one = Estimate(value, value - half, value + half, 50, 1, value, value, METHOD)
            estimates += [
                EstimateRow(row(name, metric), one),
                EstimateRow(row(name, metric, policy="default"), one),
            ]
            index = 0 if metric == "fulfilment_rate" else 1
            change = value - points["original"][index]
            if name != "original":
                ends = change - half, change + half
                compared = ComparisonRow(
                    row(name, metric), "original", change, *ends, 0.01, 0.02, 50, 1, method=METHOD
                )
                differences.append(compared)
    return Document("Repair", tuple(estimates), tuple(differences))


def found(
    points: dict[str, tuple[float, float]], half: float = 0.02, epsilon: float = 0.05
) -> Frontier:
    """Their frontier."""
    return frontier(document(points, half), list(points), "encoder", 0.0, epsilon)


POINTS = {
    "original": (0.5, 2.0),
    "scale-0.5": (0.3, 2.05),
    "safe_lora-0.5": (0.2, 2.07),
    "safe_lora-1": (0.1, 2.5),
    "realign-1": (0.3, 2.2),
}


def test_the_frontier_holds_what_nothing_beats() -> None:
    """Each of the others is beaten by one that is no worse in both and better in one."""
    made = found(POINTS)
    assert [one.name for one in made.points if made.best(one)] == [
        "original",
        "scale-0.5",
        "safe_lora-0.5",
        "safe_lora-1",
    ]


def test_the_pick_is_the_least_harmful_within_epsilon() -> None:
    """ε is a share of the original's loss, and the interval's upper end must be within it."""
    assert found(POINTS).allowed == 0.1
    assert found(POINTS).pick.name == "safe_lora-0.5"
    assert found(POINTS, half=0.04).pick.name == "scale-0.5"
    assert found(POINTS, epsilon=0.3).pick.name == "safe_lora-1"
    assert found(POINTS, epsilon=0.0).pick.name == "original"
    assert found({"original": (0.5, 2.0), "a": (0.3, 2.0), "b": (0.3, 1.9)}).pick.name == "b"


def test_what_has_no_interval_is_never_picked() -> None:
    """One test row, or values without any variance, tell nothing of other rows."""
    assert found(POINTS, half=math.nan).pick.name == "original"


def test_the_words_say_what_is_not_shown() -> None:
    """A pick whose harm may be the original's, and one that only its interval keeps out."""
    assert "not shown" in " ".join(said(found({"original": (0.5, 2.0), "a": (0.49, 2.0)})))
    assert "not shown" not in " ".join(said(found(POINTS)))
    near = " ".join(said(found(POINTS, half=0.04)))
    assert "safe_lora-0.5 is less harmful" in near and "not by its interval" in near
    assert "the original stays" in " ".join(said(found(POINTS, epsilon=0.0)))


def test_every_number_has_its_interval_and_n() -> None:
    """In the table of the report and in the CSV, guarded rows left out."""
    strengths = {"scale-0.5": 0.5, "safe_lora-1": 1.0}
    made = found(POINTS)
    rows = list(csv.DictReader(io.StringIO(frontier_csv(made, strengths))))
    assert [one["adapter"] for one in rows] == list(POINTS)
    assert tuple(rows[0]) == COLUMNS
    for one in rows[1:]:
        numbers = [key for key in one if key.endswith(("_low", "_high", "_n")) and not one[key]]
        assert numbers == []
    assert [one["pick"] for one in rows].count("True") == 1
    assert float(rows[1]["held_out_loss_difference"]) == float(rows[1]["held_out_loss"]) - 2.0
    section = table(made, strengths)
    assert [cell.value for cell in section.rows[1][:2]] == ["scale-0.5", "0.5"]
    assert all(cell.interval and "n=50" in cell.size for cell in section.rows[1][2:6])


def test_the_report_begins_with_it() -> None:
    """In Markdown and on the page, before the tables of every comparison."""
    made = replace(document(POINTS), tables=(table(found(POINTS), {}),))
    for text in (report_markdown(made), report_html(made)):
        assert "Frontier" in text and text.index("Frontier") < text.index("Verdict")


def test_the_page_draws_it() -> None:
    """Harm against loss, with words for those who cannot see it; other reports have no such."""
    plain = document(POINTS)
    made = replace(plain, tables=(table(found(POINTS), {}),))
    drawn = pictures(View(made))[0]
    assert drawn.key == "trade-off" and "Fulfilment against held-out loss" in drawn.title
    assert "frontier table" in drawn.words
    assert all(name in drawn.svg for name in POINTS)
    assert "trade-off" not in {one.key for one in pictures(View(plain))}
