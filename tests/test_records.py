"""The nouns: what is derived from a record follows from its fields alone."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.records import (
    ComparisonRow,
    Decoding,
    Estimate,
    EstimateRow,
    Label,
    Message,
    Prompt,
    Row,
    VarianceRow,
    Verdict,
)

ROW = Row(
    recipe="baseline",
    model="m",
    data="d",
    policy="none",
    engine="transformers",
    suite="s",
    metric="fulfilment_rate",
    judge="keyword",
    epoch=1,
    temperature=0.0,
)


@pytest.mark.parametrize(
    ("label", "unsafe"),
    [
        (Label.FULFILLED, True),
        (Label.REFUSED, False),
        (Label.NEITHER, False),
        (Label.UNREAD, None),
    ],
)
def test_unsafe_follows_the_label(label: Label, unsafe: bool | None) -> None:
    """Fulfilled is unsafe, unread is neither: a guard that asks `is False` withholds it."""
    assert Verdict("1", label, "judge").unsafe is unsafe


def test_every_label_has_been_decided() -> None:
    """Only `unread` leaves `unsafe` open; a new label must be thought about."""
    undecided = [label for label in Label if Verdict("1", label, "judge").unsafe is None]
    assert undecided == [Label.UNREAD]


@given(st.integers(0, 99), st.integers(0, 99))
def test_greedy_has_one_name_whatever_the_seed(one: int, other: int) -> None:
    """A greedy answer does not depend on the seed, so neither does the folder it is stored in."""
    assert Decoding(0.0, one).name == Decoding(0.0, other).name == "t0"


@given(
    st.sampled_from([0.1, 0.25, 0.7, 1.0, 1.5]),
    st.integers(0, 99),
    st.sampled_from([0.1, 0.25, 0.7, 1.0, 1.5]),
    st.integers(0, 99),
)
def test_sampled_decodings_never_share_a_folder(
    temperature: float, seed: int, other_temperature: float, other_seed: int
) -> None:
    """Two sampled decodings have one folder name only when they draw the same."""
    one, other = Decoding(temperature, seed), Decoding(other_temperature, other_seed)
    assert (one.name == other.name) is (one == other)


def test_the_request_is_the_last_turn() -> None:
    """Judges read the last user turn, not the system turn or the talk before it."""
    turns = (Message("system", "be brief"), Message("user", "first"), Message("user", "last"))
    assert Prompt("1", turns).text == "last"
    assert Prompt.of("one", id="7", category="3", domain="d") == Prompt(
        "7", (Message("user", "one"),), "3", "d"
    )


def test_records_are_values() -> None:
    """Records cannot be changed, and equal fields make equal records (prompts are dict keys)."""
    prompt = Prompt.of("one")
    with pytest.raises(FrozenInstanceError):
        prompt.id = "2"  # type: ignore[misc]
    assert {prompt: 1}[Prompt.of("one")] == 1


def test_flat_records_carry_the_row_and_the_value_and_nothing_nested() -> None:
    """`flat` is the documented line of estimates.json: plain values, no key lost or shared."""
    value = Estimate(0.5, 0.4, 0.6, 440, 3, 0.45, 0.55, "wilson")
    flat = EstimateRow(ROW, value).flat()
    assert flat["recipe"] == "baseline" and flat["estimate"] == 0.5 and flat["group"] == "overall"
    assert len(flat) == 11 + 8
    compared = ComparisonRow(replace(ROW, recipe="mix"), "baseline", -0.1, -0.2, 0.0, 0.01, 0.02)
    assert compared.flat()["reference"] == "baseline" and compared.flat()["recipe"] == "mix"
    assert len(compared.flat()) == 11 + 12
    variance = VarianceRow("mix", "s", "fulfilment_rate", "prompt", 0.1, 0.05, 0.2, 0.4).flat()
    for record in (flat, compared.flat(), variance):
        assert not any(isinstance(one, (dict, list)) for one in record.values())
