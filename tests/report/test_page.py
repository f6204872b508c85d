"""report.html: one offline file, the same every time, in which names stay text."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from safeft.report import Document, Run, report_html
from safeft.report.page import INSTALL

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Collects tags with attributes, identifiers, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Closes what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keeps what a reader sees."""
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def values(self, name: str) -> list[str]:
        """Every value of an attribute."""
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Makes importing one package fail, as if it were not installed."""
    real: Callable[..., Any] = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.fixture(scope="module")
def html(document: Document) -> str:
    """The whole page."""
    return report_html(document)


def test_it_needs_no_network(html: str) -> None:
    """No address but the names of XML namespaces; nothing to fetch, and a policy against it."""
    assert "//" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    page = Outline(html)
    assert page.values("src") == []
    assert {tag for tag, _ in page.tags} & {"img", "link", "iframe", "image"} == set()
    assert all(link.startswith("#") for link in page.values("href") + page.values("xlink:href"))
    assert "url(http" not in html
    assert any("default-src 'none'" in content for content in page.values("content"))


def test_it_is_deterministic(document: Document, html: str) -> None:
    """Twice the same bytes, without a date or a version of Matplotlib."""
    assert report_html(document) == html
    assert "matplotlib" not in html.lower()
    assert "<dc:date>" not in html


def test_it_is_small_even_for_many_recipes(document: Document) -> None:
    """Twenty recipes with 44 categories stay below one megabyte."""
    estimates, runs = [], []
    for number in range(20):
        for entry in document.estimates:
            if entry.row.recipe == "lora-safe" and entry.row.group == "overall":
                estimates.append(replace(entry, row=replace(entry.row, recipe=f"r{number}")))
        rate = next(e for e in estimates if e.row.metric == "fulfilment_rate")
        for category in range(1, 45):
            row = replace(rate.row, recipe=f"r{number}", epoch=2, group=f"category:{category}")
            estimates.append(replace(rate, row=row))
        runs += [Run(f"r{number}", s, 2, "fulfilment_rate", 0.1, 0.0) for s in range(5)]
    many = replace(document, estimates=tuple(estimates), runs=tuple(runs))
    assert len(report_html(many).encode()) < 1_000_000


def test_tags_are_closed_and_identifiers_unique(html: str) -> None:
    """Three inline figures do not share an identifier, and every reference has a target."""
    page = Outline(html)
    identifiers = page.values("id")
    assert page.open == []
    assert len(identifiers) == len(set(identifiers))
    used = page.values("href") + page.values("xlink:href")
    targets = [link[1:] for link in used] + re.findall(r"url\(#([^)]*)\)", html)
    described = page.values("aria-describedby")
    assert set(targets + described) <= set(identifiers)


def test_figures_have_words(html: str) -> None:
    """Who cannot see a figure is told what it shows and where its numbers stand."""
    page = Outline(html)
    figures = [attrs for tag, attrs in page.tags if attrs.get("role") == "img"]
    assert [figure["aria-label"] for figure in figures] == [
        "Intervals and training runs",
        "Fulfilment and refusal by epoch",
        "Where the spread of fulfilment comes from",
    ]
    assert page.text.count("The numbers stand in the") == 3


def test_tables_have_headings(html: str) -> None:
    """Every column and every line is announced."""
    page = Outline(html)
    scopes = [attrs.get("scope") for tag, attrs in page.tags if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert [attrs["lang"] for tag, attrs in page.tags if tag == "html"] == ["en"]


def test_it_follows_the_readers_colours(html: str) -> None:
    """Dark mode reaches the figures: they carry no colour of their own."""
    assert "prefers-color-scheme: dark" in html
    figures = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert re.findall(r"(?:fill|stroke): #(?!\d*\))[0-9a-f]+", figures) == []
    assert "var(--fulfilment)" in figures


def test_did_not_learn(html: str) -> None:
    """The label stands in the tables and in the figures."""
    assert html.count("frozen (did not learn)") == html.count("frozen")
    assert "frozen (did not learn)</text>" in html


def test_provenance_and_command(html: str) -> None:
    """What was used, and how to do it again."""
    text = Outline(html).text
    assert "safeft compare recipes/ --seeds 5" in text
    assert "keyword@1" in text


@pytest.mark.parametrize("place", ["recipe", "title", "note", "label", "command", "group"])
def test_text_is_never_markup(place: str, document: Document) -> None:
    """A script in any text stays text, in tables, attributes and figures."""
    bad = "\"'><script>alert(1)</script>"
    changes: dict[str, Any] = {place: bad} if place in ("recipe", "group") else {}
    rows = [
        replace(entry, row=replace(entry.row, **changes))
        for entry in document.estimates
        if entry.row.recipe == "naive"
    ]
    evil = Document(
        title=bad if place == "title" else "t",
        estimates=tuple(rows),
        runs=document.runs,
        notes=(bad if place == "note" else "n",),
        labels={"naive": bad if place == "label" else "l"},
        provenance={"command": bad if place == "command" else "c"},
    )
    html = report_html(evil)
    assert html.count("<script") == 1
    assert "alert(1)</script" not in html
    Outline(html)


def test_dollars_are_no_formulas(document: Document) -> None:
    """A name is drawn as it is written."""
    rows = tuple(replace(e, row=replace(e.row, recipe="$a_b$")) for e in document.estimates)
    assert "$a_b$</text>" in report_html(replace(document, estimates=rows))


def test_without_jinja(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says how to get itself."""
    without(monkeypatch, "jinja2")
    html = report_html(document)
    assert INSTALL in html
    assert Outline(html).open == []


def test_without_matplotlib(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are there, and in place of the figures how to get them."""
    without(monkeypatch, "matplotlib")
    page = Outline(report_html(document))
    assert f"Install it and report again: {INSTALL}" in page.text
    assert "lora-safe" in page.text
    assert not any(tag == "svg" for tag, _ in page.tags)


def test_an_empty_document_is_a_page() -> None:
    """Nothing measured yet is said, not crashed."""
    page = Outline(report_html(Document("empty")))
    assert "There are no estimates to show." in page.text
