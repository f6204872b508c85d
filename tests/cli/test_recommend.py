"""`safeft recommend`: two recipes for what one has."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import done, refused

PAGE = Path(__file__).parents[2] / "docs/recommend.md"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], ["constrained", "safety_mix"]),
        (["--no-safety-data", "--compute", "none"], ["scale", "ema"]),
        (["--no-safety-data", "--compute", "double"], ["constrained", "self_generated"]),
        (["--trained", "--base"], ["scale", "realign"]),
        (["--trained", "--base", "--compute", "none"], ["scale", "safe_lora"]),
        (["--trained", "--no-safety-data", "--compute", "none"], ["scale", "ptst"]),
        (["--api"], ["safety_mix", "self_generated"]),
        (["--api", "--trained"], ["ptst", "safety_mix"]),
    ],
)
def test_two_are_named(options: list[str], named: list[str]) -> None:
    """In the table's order."""
    lines = done("recommend", *options).out.splitlines()
    assert [line.split()[1] for line in lines if line[:1].isdigit()] == named


def test_the_page_can_be_printed() -> None:
    """As it is committed."""
    assert done("recommend", "--markdown").out == PAGE.read_text(encoding="utf-8")


def test_what_is_no_level_is_refused() -> None:
    """With those that there are."""
    assert "'none', 'some', 'double'" in refused("recommend", "--compute", "much")
