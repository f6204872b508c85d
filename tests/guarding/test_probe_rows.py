"""Laws of answers token by token: a text has the score of the tokens that spell it, there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarding.probing import probing
from safeft.guarding.probe_ride import Ride
from safeft.guarding.probe_rows import Live, Row
from safeft.records import Message, Prompt

ASKED = (Message("user", "how does one grow"),)
PROBE = probing(smoothing=0.5)


class Letters:
    """A tokenizer whose tokens are letters; 0 is one that is not shown."""

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(chr(one) for one in ids if one)


def row(text: str, logits: list[float]) -> Row:
    """An answer of letters, read token by token in parts."""
    made, ids = Row(ASKED), [ord(one) if one != "_" else 0 for one in text]
    for start in range(0, len(ids), 3):
        made.add(Letters(), ids[start : start + 3], logits[start : start + 3])
    return made


@settings(deadline=None)
@given(st.data())
def test_a_text_is_judged_by_its_own_tokens_at_their_place(data: st.DataObject) -> None:
    """By the largest logit, smoothed from the answer's beginning; unseen tokens do not count."""
    text = data.draw(st.text("ab_", min_size=1, max_size=20))
    drawn = st.lists(st.integers(-9, 9), min_size=len(text), max_size=len(text))
    logits = [float(one) for one in data.draw(drawn)]
    made, smooth = row(text, logits), PROBE.smoothed(logits)
    shown = [place for place, letter in enumerate(text) if letter != "_"]
    for start in range(len(shown)):
        for stop in range(start + 1, len(shown) + 1):
            part = "".join(text[place] for place in shown[start:stop])
            width = stop - start
            wanted = max(
                smooth[shown[at : at + width]].max()
                for at in range(len(shown) - width + 1)
                if "".join(text[place] for place in shown[at : at + width]) == part
            )
            assert made.logit(part, PROBE) == pytest.approx(wanted)
    assert made.worst(PROBE) == pytest.approx(smooth.max())


def test_what_is_not_in_an_answer_is_not_known() -> None:
    """Nor is an empty text, nor anything before a token was read."""
    made = row("abc", [1.0, 2.0, 3.0])
    assert made.logit("bd", PROBE) is None and made.logit("", PROBE) is None
    assert Row(ASKED).logit("a", PROBE) is None and math.isnan(Row(ASKED).worst(PROBE))


def test_a_place_that_could_not_be_read_is_no_number() -> None:
    """Though the text stands elsewhere in the answer as well."""
    made = row("abab", [1.0, 2.0, math.nan, 1.0])
    assert math.isnan(made.logit("ab", PROBE) or 0)
    assert made.logit("a", PROBE) is not None and math.isnan(made.worst(PROBE))
    assert row("ab", [1.0, math.nan]).logit("a", PROBE) == 0.5


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("cdef", ""),
        ("bcde", "abcde"),
        ("abcdx", "abcdx"),
        ("defg", ""),
        ("bc", ""),
        ("d", ""),
        ("", ""),
        ("xyz", ""),
    ],
)
def test_an_answer_is_known_up_to_a_text_that_goes_on_from_its_end(text: str, whole: str) -> None:
    """If it has more of the text already than is missing: a letter may be anybody's."""
    assert row("abcd", [1.0] * 4).up_to(text) == whole


def test_more_tokens_change_what_is_known() -> None:
    """An answer that grows is read again from where it was."""
    made = row("ab", [1.0, 1.0])
    assert made.logit("b", PROBE) == 0.75
    made.add(Letters(), [ord("b")], [7.0])
    assert made.logit("b", PROBE) == pytest.approx(PROBE.smoothed([1, 1, 7])[-1])


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        ("system: be kind|user: a|assistant: b|user: c", True),
        ("system: be kind|assistant: b|user: c", True),
        ("system: be kind|user: c", True),
        ("user: c", False),
        ("system: be kind|user: b", False),
        ("system: be kind|user: x|assistant: b|user: c", False),
        ("system: be kind|user: y|user: a|assistant: b|user: c", False),
    ],
)
def test_an_answer_belongs_to_its_conversation(shown: str, same: bool) -> None:
    """Of which a judge sees the last turns, and every system turn."""

    def turns(text: str) -> tuple[Message, ...]:
        return tuple(Message(*one.split(": ")) for one in text.split("|"))

    made = Row(turns("system: be kind|user: a|assistant: b|user: c"))
    assert made.answers(Prompt("0", turns(shown))) is same


def test_a_rides_rows_belong_to_their_requests() -> None:
    """In order; several rows of a batch may answer one of them, and they grow with the ride."""
    import torch

    ride, weight = Ride(PROBE, set()), torch.from_numpy(PROBE.weight)
    requests = [((Message("user", name),), [1, 2]) for name in "ab"]
    live = Live(ride, requests, Letters())
    assert live.rows() == []

    def step(*texts: str) -> None:
        ids = torch.tensor([[ord(one) for one in text] for text in texts])
        ride.embedded((ids,), None)
        scale = ids[..., None].float() / (weight @ weight)  # so that a letter's logit is its code
        ride.computed((), scale * weight)

    step("xy", "xy", "xy", "xy")
    step(*"pqrs")
    assert [one.messages[0].content for one in live.rows()] == ["a", "a", "b", "b"]
    assert all(one.ids == [1, 2] for one in live.rows())
    step(*"tuvw")
    for place, text in enumerate(("pt", "qu", "rv", "sw")):
        logits = [ord(one) + PROBE.bias for one in text]
        found: Any = live.rows()[place].logit(text, PROBE)
        assert found == pytest.approx(PROBE.smoothed(logits).max(), abs=1e-2)
    assert np.isfinite(live.rows()[0].worst(PROBE))
