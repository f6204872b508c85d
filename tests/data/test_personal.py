"""Personal data are found by what decides (checksums, libraries), and hidden whole."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.data.personal import counts, finds_phones, hidden, personal
from safeft.errors import ConfigError

KEY = "sk-" + "a1B2" * 6
FOUND = [
    ("write to ada.l+x@mail.example.org.", "email", "ada.l+x@mail.example.org"),
    (f"use {KEY} here", "key", KEY),
    ("token ghp_" + "a1" * 18, "key", "ghp_" + "a1" * 18),
    ("key AKIA" + "Z" * 16, "key", "AKIA" + "Z" * 16),
    ("-----BEGIN RSA PRIVATE KEY-----", "key", "-----BEGIN RSA PRIVATE KEY-----"),
    ("pay with 4111 1111 1111 1111 now", "card", "4111 1111 1111 1111"),
    ("pay with 5500-0000-0000-0004", "card", "5500-0000-0000-0004"),
    ("to GB82 WEST 1234 5698 7654 32", "iban", "GB82 WEST 1234 5698 7654 32"),
    ("to DE89370400440532013000.", "iban", "DE89370400440532013000"),
    ("from 8.8.8.8 at noon", "ip_address", "8.8.8.8"),
    ("from 2001:4860:4860::8888", "ip_address", "2001:4860:4860::8888"),
    ("call +41 44 668 18 00 today", "phone", "+41 44 668 18 00"),
]


@pytest.mark.parametrize(("text", "kind", "value"), FOUND, ids=[one[2] for one in FOUND])
def test_each_kind_is_found_where_it_stands(text: str, kind: str, value: str) -> None:
    """One finding that covers the value and nothing else."""
    [one] = personal(text)
    assert (one.kind, text[one.start : one.end]) == (kind, value)
    assert hidden(text) == text.replace(value, f"[{kind}]")


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # fails Luhn's check
        "0000 0000 0000 0000",  # one digit repeated
        "GB83 WEST 1234 5698 7654 32",  # fails the remainder by 97
        "127.0.0.1 and 192.168.1.7 and 300.1.1.1",  # nobody's address
        "at 12:30:45 on 2024-01-02",
        "version 1.2.3",
        "sk-short",
        "a @mention and x@y",
        "the ratio is 3.14159265358979",
        "it takes 20 to 30 days",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    """A wrong checksum, a reserved network, a time, a version."""
    assert personal(text) == []
    assert hidden(text) == text


def test_a_region_finds_national_numbers() -> None:
    """Without one, digits alone are no phone number; a region that is none is refused."""
    text = "ring (212) 736-5000"
    assert counts(text) == {}
    assert counts(text, "US") == {"phone": 1}
    with pytest.raises(ConfigError, match="region 'Utopia' is not known"):
        counts(text, "Utopia")


def test_without_the_package_the_rest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one can ask whether phone numbers are."""
    assert finds_phones()
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    assert not finds_phones()
    assert counts("+41 44 668 18 00, a@b.example") == {"email": 1}
    with pytest.raises(ConfigError, match="pip install 'safeft"):
        counts("", "US")


def test_findings_do_not_overlap_and_are_counted() -> None:
    """A card's digits are not a phone number as well."""
    text = "4111 1111 1111 1111; a@b.example, c@d.example; +41 44 668 18 00"
    assert counts(text) == {"card": 1, "email": 2, "phone": 1}


@given(st.text(st.sampled_from("ab1 4@.:-+"), max_size=60))
def test_hiding_keeps_what_is_between(text: str) -> None:
    """Findings lie in order, apart, within the text; without any the text stays."""
    found = personal(text)
    ends = [0, *(one.end for one in found)]
    assert all(start.start >= end for start, end in zip(found, ends, strict=False))
    if not found:
        assert hidden(text) == text
    assert personal("") == []
