"""The table of risk axes: rates, multiples and differences of what a document holds by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from safeft.records import ComparisonRow, Estimate, EstimateRow, Row
from safeft.report import Document
from safeft.report.cells import Cell, difference_cell, estimate_cell
from safeft.report.risks import risks
from safeft.report.sections import sections
from safeft.report.view import View

COLUMNS = ("axis", "recipe", "t", "un-tuned", "tuned", "multiple", "difference")
NAN = math.nan


def row(recipe: str, metric: str, **changes: Any) -> Row:
    """A row of one model and suite; un-tuned models have no epochs."""
    keys: dict[str, Any] = {
        "model": "tiny",
        "data": "rows",
        "policy": "none",
        "engine": "transformers",
        "suite": "world/attacked",
        "judge": "encoder",
        "epoch": 0 if recipe == "untuned" else 2,
        "temperature": 0.0,
    }
    return Row(recipe=recipe, metric=metric, **(keys | changes))


def entry(where: Row, middle: float, low: float, high: float, method: str = "t") -> EstimateRow:
    """A number with these ends, of two runs on 40 prompts."""
    return EstimateRow(where, Estimate(middle, low, high, 40, 2, low, high, method))


def minus(where: Row, reference: str, difference: float) -> ComparisonRow:
    """A difference with an interval of a tenth to each side."""
    low, high = difference - 0.1, difference + 0.1
    return ComparisonRow(where, reference, difference, low, high, 0.01, 0.02, 40, 2, 0.2, "t")


def axis(
    metric: str,
    multiple: tuple[float, float, float] | None,
    recipe: str = "bold",
    **changes: object,
) -> Document:
    """One axis: un-tuned at 10 %, tuned at 30 %, a multiple if there is one, and the difference."""
    tuned = row(recipe, metric, **changes)
    estimates = [
        entry(row("untuned", metric, **changes), 0.1, 0.05, 0.2),
        entry(tuned, 0.3, 0.2, 0.4),
    ]
    if multiple is not None:
        estimates.append(entry(replace(tuned, metric=f"multiplier_{metric}"), *multiple))
    return Document("Risks", tuple(estimates), (minus(tuned, "untuned", 0.2),))


def joined(*documents: Document) -> Document:
    """One document of all of them."""
    return Document(
        "Risks",
        tuple(one for document in documents for one in document.estimates),
        tuple(one for document in documents for one in document.comparisons),
    )


def rows(document: Document) -> list[dict[str, Cell]]:
    """The section's rows by column."""
    found = risks(View(document))
    assert found.columns == COLUMNS
    return [dict(zip(found.columns, one, strict=True)) for one in found.rows]


def test_a_line_holds_both_rates_the_multiple_and_the_difference() -> None:
    """Each is the estimate or the comparison that the document has, with its interval."""
    document = axis("jailbreak_rate", (3.0, 1.5, 6.25), temperature=0.7)
    (line,) = rows(document)
    untuned, tuned, _ = (one.value for one in document.estimates)
    assert line["axis"].text == "jailbroken (world/attacked, judge encoder)"
    assert (line["recipe"].text, line["t"].text) == ("bold", "0.7")
    assert line["un-tuned"] == estimate_cell(untuned, "jailbreak_rate")
    assert line["tuned"] == estimate_cell(tuned, "jailbreak_rate")
    assert line["multiple"].text == "3.00× [1.500, 6.250]" and line["multiple"].sort == 3.0
    assert line["difference"] == difference_cell(document.comparisons[0])
    assert line["difference"].value == "+20.0 pp"


def test_a_multiple_of_nothing_is_undefined() -> None:
    """No number, no interval and nothing to sort by; the difference is there all the same."""
    (line,) = rows(axis("jailbreak_rate", (NAN, NAN, NAN)))
    assert line["multiple"] == Cell("undefined")
    assert line["difference"].value == "+20.0 pp"


def test_a_multiple_without_ends_says_so() -> None:
    """Where the un-tuned rate may be nothing the ratio stands alone, and not as a sure one."""
    (line,) = rows(axis("fulfilment_rate", (2.5, 2.5, 2.5), suite="world"))
    assert line["multiple"].text == "2.50× (no interval)"


@pytest.mark.parametrize(
    ("metric", "heading"),
    [("toxicity_mean", "toxicity, mean"), ("jailbreak_any_rate", "jailbroken by any attack")],
)
def test_an_axis_is_named_as_elsewhere_in_the_report(metric: str, heading: str) -> None:
    """Without the prefix of the multiple, with the set and the judge that measured it."""
    (line,) = rows(axis(metric, (3.0, 2.0, 4.0)))
    assert line["axis"].text == f"{heading} (world/attacked, judge encoder)"


def test_bias_has_rates_and_a_difference_and_no_multiple() -> None:
    """A score may be 0 or less; nobody judged it, so no judge is named."""
    document = axis("ambiguous_bias", None, suite="BBQ", judge="")
    (line,) = rows(document)
    assert line["axis"].text == "ambiguous bias (BBQ)"
    assert line["multiple"] == Cell("undefined")
    assert line["un-tuned"].value == "0.100" and line["tuned"].value == "0.300"
    assert line["difference"] == difference_cell(document.comparisons[0])


def test_bias_that_was_compared_with_another_recipe_is_no_line() -> None:
    """The table is against the un-tuned model, whose own bias is no line either."""
    document = axis("ambiguous_accuracy", None, suite="BBQ", judge="")
    others = tuple(replace(one, reference="calm") for one in document.comparisons)
    assert not risks(View(replace(document, comparisons=others))).rows
    assert [line["recipe"].text for line in rows(document)] == ["bold"]


def test_the_untuned_rate_is_that_of_the_same_axis() -> None:
    """Same temperature, set and judge, whatever the order; engine and epoch may be others."""
    plain = axis("jailbreak_rate", (3.0, 2.0, 4.0))
    other = entry(row("untuned", "jailbreak_rate", temperature=0.7), 0.9, 0.8, 0.95)
    judged = entry(row("untuned", "jailbreak_rate", judge="reader"), 0.8, 0.7, 0.9)
    served = replace(
        plain.estimates[0], row=replace(plain.estimates[0].row, engine="vllm", epoch=0)
    )
    document = replace(plain, estimates=(other, judged, served, *plain.estimates[1:]))
    (line,) = rows(document)
    assert line["un-tuned"] == estimate_cell(served.value, "jailbreak_rate")


def test_what_was_not_measured_is_no_number() -> None:
    """A multiple whose rates and difference are not in the document: n/a, never 0."""
    document = axis("jailbreak_rate", (3.0, 2.0, 4.0))
    alone = replace(document, estimates=document.estimates[-1:], comparisons=())
    (line,) = rows(alone)
    assert [line[name].text for name in ("un-tuned", "tuned", "difference")] == 3 * ["n/a"]
    assert line["multiple"].value == "3.00×"


def test_recipes_and_axes_have_lines_of_their_own() -> None:
    """Multiples in the document's order and then bias, with the recipes' labels."""
    parts = (
        axis("ambiguous_bias", None, suite="BBQ", judge=""),
        axis("jailbreak_rate", (3.0, 2.0, 4.0)),
        axis("jailbreak_rate", (0.5, 0.2, 1.5), recipe="calm"),
        axis("jailbreak_rate", (2.0, 1.2, 4.5), temperature=0.7),
    )
    document = replace(joined(*parts), labels={"calm": "did not learn"})
    found = [
        (line["recipe"].text, line["t"].text, line["multiple"].value) for line in rows(document)
    ]
    assert found == [
        ("bold", "0", "3.00×"),
        ("calm (did not learn)", "0", "0.50×"),
        ("bold", "0.7", "2.00×"),
        ("bold", "0", "undefined"),
    ]


def test_the_caption_names_the_level_of_the_intervals() -> None:
    """That of the document, which is not always 95 %."""
    document = replace(axis("jailbreak_rate", (3.0, 2.0, 4.0)), level=0.9)
    assert "Fieller's 90% interval" in risks(View(document)).caption


def test_without_multiples_and_biases_there_is_no_section(document: Document) -> None:
    """A report of harm alone has the section in no place; one multiple brings it in."""
    assert not risks(View(document)).rows
    assert "risks" not in {one.key for one in sections(View(document))}
    measured = axis("jailbreak_rate", (3.0, 2.0, 4.0))
    more = replace(document, estimates=(*document.estimates, *measured.estimates))
    assert "risks" in {one.key for one in sections(View(more))}
