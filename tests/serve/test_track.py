"""A choice on its way out: nothing before its text is cleared, all of it after, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from guarding.reading import policy
from hypothesis import given
from hypothesis import strategies as st

from safeft.guarding.decision import Action, Decision
from safeft.records import Prompt
from safeft.serve.channels import Channel, Piece
from safeft.serve.reading import UnreadableError
from safeft.serve.track import Check, Part, Track
from serve.scripted import LONG
from serve.streamed import cleared as guarded

STAGES: dict[str, Any] = {"reasoning": {}, "tool_calls": {}}
words = st.lists(st.sampled_from(["one ", "deux", ". ", "三", "🙂", "\n", "MARK"]), max_size=60)


def track(said: str = "delta", *, optimistic: bool = False, **changes: Any) -> Track:
    made = policy(**STAGES | changes)
    return Track(made, Prompt.of("?"), said, optimistic=optimistic)


def part(delta: dict[str, Any], order: int = 0, **more: Any) -> Part:
    return Part({"index": 0, "delta": delta, **more}, {}, "x" * 10, order)


def settle(checks: Sequence[Check], action: Action = "block", word: str = "MARK") -> None:
    """As a judge would that looks for a word."""
    for check in checks:
        unsafe = word in check.read.text
        decision = Decision(check.stage, action if unsafe else "allow", unsafe)
        check.track.settle(check, decision)


def text(released: list[tuple[Part, dict[str, Any]]]) -> str:
    return "".join(one["delta"].get("content") or "" for _, one in released)


@given(words, st.lists(st.integers(1, 9), min_size=1), st.lists(st.booleans(), min_size=1))
def test_what_leaves_is_the_longest_run_of_cleared_chunks(
    said: list[str], sizes: list[int], late: list[bool]
) -> None:
    """However it is cut, and whenever its windows are settled; the rest of a block is dropped."""
    whole, made, held, cuts = "".join(said), track(), [], [0]
    left: list[str] = []

    def decided(checks: list[Check]) -> None:
        for check in checks:
            settle([check])
            left.append(text(made.release()))

    while (at := cuts[-1]) < len(whole):
        cuts.append(min(at + sizes[len(cuts) % len(sizes)], len(whole)))
        held += made.take(part({"content": whole[at : cuts[-1]]}, len(cuts)))
        if not late[len(cuts) % len(late)]:
            decided(held)
            held = []
    decided(held + made.finish())
    cleared, blocked = guarded(whole)
    assert "".join([*left, text(made.release())]) == whole[: max(c for c in cuts if c <= cleared)]
    assert (made.stopped is not None) == blocked
    assert made.pending == 0


@given(words)
def test_a_block_drops_what_had_not_left_before_it(said: list[str]) -> None:
    """Also cleared chunks: of an answer that is decided at once all leaves, or nothing."""
    whole, made = "".join(said), track()
    settle(made.take(part({"content": whole})) + made.finish())
    _, blocked = guarded(whole)
    assert text(made.release()) == ("" if blocked else whole)
    assert made.release() == []


def test_a_chunk_waits_for_every_text_that_it_carries() -> None:
    """Of a content and an argument neither leaves before the other is cleared."""
    made = track()
    call = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}
    checks = made.take(part({"content": LONG, **call}, 0))
    assert [one.stage for one in checks] == ["output"] * len(checks)
    settle(checks)
    assert made.release() == []
    ends = made.finish()
    assert {one.stage for one in ends} >= {"tool_calls"}
    settle(ends)
    assert len(made.release()) == 1


def test_chunks_leave_in_order_and_untouched() -> None:
    """Also those without a text, which do not overtake one that waits."""
    made = track()
    parts = [part({"role": "assistant"}, 0), part({"content": "word"}, 1), part({}, 2, seen=7)]
    checks = [check for one in parts for check in made.take(one)]
    assert [one for one, _ in made.release()] == parts[:1]
    settle(checks + made.finish())
    assert [(one, choice is one.choice) for one, choice in made.release()] == [
        (parts[1], True),
        (parts[2], True),
    ]


def test_token_ids_wait_for_the_text_that_they_spell() -> None:
    """A chunk that holds ids alone would tell the words before they are cleared."""
    made = track()
    made.take(part({"content": ""}, 0, token_ids=[5]))
    assert made.release() == []
    checks = made.take(part({"content": "MARK and more"}, 1, token_ids=[6]))
    settle(checks + made.finish())
    assert made.release() == [] and made.stopped is not None
    fine = track()
    fine.take(part({"content": ""}, 0, token_ids=[5]))
    settle(fine.finish())
    assert len(fine.release()) == 1, "ids behind the last text, such as that of its end"


def test_tokens_with_probabilities_are_read_where_they_differ_from_the_text() -> None:
    """They may run ahead of a text that a parser holds back."""
    same, ahead = track(), track()
    token = {"content": [{"token": "fine"}]}
    checks = same.take(part({"content": "fine"}, 0, logprobs=token)) + same.finish()
    assert [one.read.text for one in checks] == ["fine"]
    checks = ahead.take(part({"content": ""}, 0, logprobs={"content": [{"token": "MARK"}]}))
    settle(checks + ahead.finish())
    assert ahead.release() == [] and ahead.stopped is not None


def test_texts_beside_a_choice_are_read_once_and_whole() -> None:
    """What stands in every chunk does not hold all of them back."""
    made, beside = track(), [Piece(Channel("output", "note"), "a note")]
    checks = made.take(part({}, 0), beside)
    assert [one.read.text for one in checks] == ["a note"]
    assert made.release() == []
    settle(checks)
    assert made.take(part({}, 1), beside) == []
    assert len(made.release()) == 2


def test_stages_that_the_policy_leaves_out_hold_nothing_back() -> None:
    """Thoughts pass at once where nobody reads them."""
    made = track(reasoning=None)
    assert made.take(part({"reasoning": "MARK"}, 0)) == []
    assert len(made.release()) == 1
    assert made.left == {None, "reasoning"}


def test_one_text_that_is_stopped_stops_the_choice() -> None:
    """An answer does not leave when its thoughts may not, nor anything that comes later."""
    made = track()
    checks = made.take(part({"content": LONG, "reasoning": f"MARK {LONG}"}, 0))
    settle(checks)
    assert made.stopped is not None and made.stopped.stage == "reasoning"
    assert made.release() == [] and made.take(part({"content": "x"}, 1)) == []
    assert made.finish() == [] and made.release() == []


@pytest.mark.parametrize("said", ["delta", ""])
def test_a_redacted_chunk_keeps_nothing_that_spells_its_words(said: str) -> None:
    """Its tool calls and role stay; tokens, ids and unknown fields go."""
    made = track(said, output={"action": "redact", "first_window": 4, "window": 4, "overlap": 0})
    spelled = {"logprobs": {"content": [{"token": "MARK"}]}, "token_ids": [1], "unknown": 1}
    inner = {"role": "assistant", "content": "MARK", "other": "MARK", "reasoning": "fine"}
    choice = {"index": 0, **({said: inner} if said else {"text": "MARK"}), **spelled}
    one = Part(choice | {"finish_reason": "stop"}, {}, "", 0)
    settle(made.take(one) + made.finish(), "redact")
    ((_, left),) = made.release()
    words = {"role": "assistant", "content": "[removed]", "reasoning": "fine"}
    end = {"index": 0, "finish_reason": "stop", "logprobs": None}
    assert left == end | ({said: words} if said else {"text": "[removed]"})


def test_optimistic_tracks_leak_and_count_it() -> None:
    """All leaves at once; what had left of a window that is then held back is counted."""
    made = track(optimistic=True, streaming="optimistic")
    checks = made.take(part({"content": f"MARK {LONG}"}, 0))
    assert len(made.release()) == 1
    settle(checks)
    assert made.leaked > 10 and made.stopped is not None
    assert made.take(part({"content": "more"}, 1)) == []


def test_text_after_the_end_is_refused() -> None:
    """It could not be told from text that was checked; a chunk without any may follow."""
    made = track()
    made.take(part({"content": "a"}, 0, finish_reason="stop"))
    settle(made.finish())
    assert made.take(part({}, 1)) == []
    with pytest.raises(UnreadableError, match="after a finish_reason"):
        made.take(part({"content": "b"}, 2))


def test_halves_of_a_character_are_read_as_one() -> None:
    """A chunk may end in the middle of an emoji that is escaped as a pair."""
    made = track()
    checks = made.take(part({"content": "smile \ud83d"}, 0))
    checks += made.take(part({"content": "\ude42 again"}, 1)) + made.finish()
    assert "".join(one.read.text for one in checks) == "smile 🙂 again"


def test_release_keeps_to_an_order() -> None:
    """What belongs to no choice waits for what came before it."""
    made = track()
    for place in (1, 3, 5):
        made.take(replace(part({}), order=place))
    assert [one.order for one, _ in made.release(before=4)] == [1, 3]
    assert made.first == 5
