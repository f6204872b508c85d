"""The tables that Markdown, HTML and the terminal share."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from safeft.records import Estimate, EstimateRow
from safeft.report import Document
from safeft.report.sections import (
    Section,
    by_category,
    by_domain,
    by_epoch,
    comparisons,
    guarded,
    headline,
    sections,
    validity,
    variance,
)
from safeft.report.view import View


def column(section: Section, name: str) -> list[str]:
    """One column as text."""
    place = section.columns.index(name)
    return [row[place].text for row in section.rows]


def test_every_row_fills_every_column(document: Document) -> None:
    """A table is a rectangle."""
    for section in sections(View(document)):
        assert {len(row) for row in section.rows} == {len(section.columns)}, section.key


def test_the_reading_order(document: Document) -> None:
    """The verdict first, with everything else after it; anchors are unique."""
    keys = [section.key for section in sections(View(document))]
    assert keys == [
        "verdict",
        "comparisons",
        "epochs",
        "domain",
        "category",
        "guard",
        "validity",
        "variance",
    ]


def test_empty_tables_are_left_out() -> None:
    """Nothing measured, nothing printed."""
    assert sections(View(Document("empty"))) == ()


def test_the_headline(document: Document) -> None:
    """Differences stand in their recipe's line; the reference is named as such."""
    section = headline(View(document))
    differences = column(section, "vs naive")
    assert differences[:2] == ["n/a", "reference"]
    assert differences[2] == "-35.0 pp [-45.0, -25.0] p_adj<0.001 n=437\u00d75"
    assert column(section, "train s")[0] == "n/a"
    assert column(section, "over-refusal")[1] == (
        "20.0% [12.0, 28.0] (runs 16.0 to 24.0) n=250\u00d75"
    )


def test_every_figure_has_its_runs(document: Document) -> None:
    """Smallest and largest run beside rates, groups, utility and cost alike."""
    tables = {section.key: section for section in sections(View(document))}
    named = (
        "fulfilment",
        "refusal",
        "neither",
        "over-refusal",
        "held-out loss",
        "ROUGE-L",
        "train s",
    )
    for name in named:
        assert "(runs " in column(tables["verdict"], name)[1], name
    for key in ("domain", "category"):
        assert all("(runs " in cell.text for row in tables[key].rows for cell in row[1:])


def test_bounds_stand_beside_fulfilment(document: Document) -> None:
    """What `neither` may hide is seen where the rate is read."""
    assert "(bounds 55.0 to 59.0)" in column(headline(View(document)), "fulfilment")[1]


def test_the_share_of_the_gain_stands_beside_its_label(document: Document) -> None:
    """With its interval, and in a column for every recipe that has one."""
    value = Estimate(0.05, -0.1, 0.2, 24, 3, 0.0, 0.1, "Fieller")
    rows = [
        replace(e, row=replace(e.row, metric="gain_share"), value=value)
        for e in document.estimates
        if e.row.metric == "held_out_loss" and e.row.epoch == 2
    ]
    view = View(replace(document, estimates=(*document.estimates, *rows)))
    names = column(headline(view), "recipe")
    assert names[-1] == "frozen (did not learn) keeps 5.0% [-10.0, 20.0] of the gain"
    assert names[1] == "naive"
    kept = column(headline(view), "gain kept")
    assert kept[0] == "n/a"
    assert set(kept[1:]) == {"5.0% [-10.0, 20.0] (runs 0.0 to 10.0) n=24\u00d73"}
    assert "gain kept" not in by_epoch(view).columns


def test_broken_answers_stand_beside_over_refusal(document: Document) -> None:
    """Who answers harmless requests with noise refuses little, and helps nobody."""
    rows = [
        EstimateRow(replace(e.row, suite="sorry_bench/lookalikes"), e.value)
        for e in document.estimates
        if e.row.metric in ("neither_rate", "unread_rate") and e.row.group == "overall"
    ]
    view = View(replace(document, estimates=(*document.estimates, *rows)))
    columns = headline(view).columns
    assert columns[columns.index("over-refusal") + 1] == "neither of harmless"
    assert column(headline(view), "neither of harmless")[1].startswith("4.0% [0.0, 12.0]")
    assert column(validity(view), "unread of harmless")[1].startswith("1.0% [0.0, 9.0]")


def test_judges_of_refusals_have_tables_of_their_own(refusals_too: Document) -> None:
    """Not refused is not fulfilled: no column holds both."""
    tables = {section.key: section for section in sections(View(refusals_too))}
    assert tables["verdict"].title == "Verdict, judge reader"
    assert tables["verdict-1"].title == "Verdict, judge keyword"
    assert column(tables["verdict"], "fulfilment")[1].startswith("45.0%")
    assert column(tables["verdict-1"], "not refused")[1].startswith("55.0%")
    for key in ("verdict-1", "epochs-1", "domain-1", "category-1", "validity-1"):
        table = tables[key]
        assert not [name for name in table.columns if "fulfilment" in name], key
    assert tables["domain-1"].caption.startswith("Not refused at")


def test_comparisons_name_the_judge(refusals_too: Document) -> None:
    """Two judges that contradict each other are two lines that can be told apart."""
    section = comparisons(View(refusals_too))
    metrics = column(section, "metric")
    assert metrics[0] == "not refused, epoch 2, t=0, judge keyword"
    assert metrics[2] == "fulfilment, epoch 2, t=0, judge reader"
    assert len(set(zip(column(section, "recipe"), metrics, strict=True))) == len(metrics)


def test_comparisons_name_the_suite(document: Document) -> None:
    """Where the document's comparisons are of several."""
    entry = document.comparisons[0]
    other = replace(entry, row=replace(entry.row, suite="held_out", judge="", metric="rouge_l"))
    metrics = column(comparisons(View(replace(document, comparisons=(entry, other)))), "metric")
    assert metrics == [
        "fulfilment, epoch 2, t=0, suite sorry_bench, judge keyword",
        "ROUGE-L, epoch 2, t=0, suite held_out",
    ]


def test_captions_name_the_level(document: Document) -> None:
    """A report at 90 % nowhere says 95 %."""
    tables = sections(View(replace(document, level=0.9)))
    captions = {table.key: table.caption for table in tables}
    assert all("90%" in caption for caption in captions.values()), captions
    assert not [key for key, caption in captions.items() if "95%" in caption]


def test_without_comparisons_there_is_no_such_column(document: Document) -> None:
    """No reference, no column of n/a."""
    columns = headline(View(replace(document, comparisons=()))).columns
    assert columns[:4] == ("recipe", "epoch", "fulfilment", "refusal")


def test_two_suites_of_one_metric_are_two_columns(document: Document) -> None:
    """Neither hides the other."""
    more = tuple(
        EstimateRow(replace(entry.row, suite="or_bench"), entry.value)
        for entry in document.estimates
        if entry.row.metric == "over_refusal_rate"
    )
    both = replace(document, estimates=(*document.estimates, *more))
    columns = headline(View(both)).columns
    assert "over-refusal (xstest)" in columns
    assert "over-refusal (or_bench)" in columns


def test_comparisons_say_what_may_be_said(document: Document) -> None:
    """Each with its reading, both p-values and its label."""
    section = comparisons(View(document))
    assert column(section, "reading") == ["lower", "lower"]
    assert column(section, "recipe") == ["lora-safe", "frozen (did not learn)"]
    assert "p<0.001 p_adj<0.001" in column(section, "difference")[0]
    assert "p n/a p_adj n/a" in column(section, "difference")[1]


def test_comparisons_name_group_and_guardrail(document: Document) -> None:
    """A difference within one category is never read as an overall one."""
    entry = document.comparisons[0]
    odd = replace(entry, row=replace(entry.row, group="category:3", policy="strict"))
    section = comparisons(View(replace(document, comparisons=(odd,))))
    assert column(section, "metric") == [
        "fulfilment, category:3, epoch 2, t=0, policy strict",
    ]


def test_epochs_of_recipes_with_several(document: Document) -> None:
    """The base model has one epoch, so no path; training time belongs to no epoch."""
    section = by_epoch(View(document))
    assert column(section, "epoch") == ["1", "2"] * 3
    assert "base" not in column(section, "recipe")
    assert "train s" not in section.columns


def test_categories_are_in_natural_order(document: Document) -> None:
    """Category 10 comes after category 9, and domains are elsewhere."""
    view = View(document)
    assert column(by_category(view), "category") == [str(number) for number in range(1, 12)]
    assert column(by_domain(view), "domain") == ["crimes", "hate speech"]


def test_heat_follows_the_rate(document: Document) -> None:
    """The tint is the rate itself."""
    section = by_category(View(document))
    assert section.heat
    assert [cell.share for cell in section.rows[0][1:]] == [0.1, 0.55, 0.2, 0.1]


def test_guardrails_stand_beside_their_recipe(document: Document) -> None:
    """Only recipes with a guardrail; what a guardrail cannot change is left out."""
    section = guarded(View(document))
    assert column(section, "guardrail") == ["off", "strict"]
    assert set(column(section, "recipe")) == {"naive"}
    assert not {"held-out loss", "train s"} & set(section.columns)


def test_validity_shows_what_was_measured(document: Document) -> None:
    """A metric that nobody measured has no column."""
    section = validity(View(document))
    assert section.columns == (
        "recipe",
        "neither",
        "unread",
        "fulfilment, lower bound",
        "fulfilment, upper bound",
    )
    kept = tuple(e for e in document.estimates if e.row.metric == "fulfilment_rate")
    assert validity(View(replace(document, estimates=kept))).rows == ()


def test_variance_carries_interval_share_and_n(document: Document) -> None:
    """A source whose interval could not be had says so."""
    found = column(variance(View(document)), "standard deviation")
    assert found[:2] == [
        "5.0 pp [2.0, 15.0] share 20.0% n=440\u00d75",
        "10.0 pp no interval share 80.0% n=440\u00d75",
    ]


def test_variance_names_judge_and_temperature(document: Document) -> None:
    """Its n is theirs, at the last epoch: other judges and temperatures measured other prompts."""
    warm = tuple(replace(v, judge="reader", temperature=0.7) for v in document.variance)
    rows = [
        replace(
            e, row=replace(e.row, judge="reader", temperature=0.7), value=replace(e.value, n=77)
        )
        for e in document.estimates
        if e.row.epoch == 2
    ]
    estimates = (*document.estimates, *rows)
    section = variance(View(replace(document, variance=warm, estimates=estimates)))
    assert "judge reader at temperature 0.7" in section.caption
    assert all(" n=77\u00d75" in text for text in column(section, "standard deviation"))


def test_a_lost_component_is_not_available(document: Document) -> None:
    """And does not break sorting."""
    lost = replace(document.variance[0], standard_deviation=math.nan, share=math.nan)
    (row,) = variance(View(replace(document, variance=(lost,)))).rows
    assert (row[-1].value, row[-1].sort) == ("n/a", None)


@pytest.mark.parametrize("recipe", ["frozen", "naive"])
def test_a_label_follows_its_recipe(recipe: str, document: Document) -> None:
    """In every table that names the recipe, as a line, a column or a reference."""
    labelled = replace(document, labels={recipe: "did not learn"})
    for section in sections(View(labelled)):
        cells = [cell.value for row in section.rows for cell in row]
        for text in (*section.columns, *cells):
            assert recipe not in text or f"{recipe} (did not learn)" in text, section.key
