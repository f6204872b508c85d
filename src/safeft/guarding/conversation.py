"""What a judge sees of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from safeft.records import Message


def conversation(messages: Sequence[Message], turns: int) -> tuple[Message, ...]:
    """The system's turns and the last `turns` of the others, in order.

    Harm that is split over several of them is seen in one piece. What is decided about is the
    current exchange alone: whether a harmful turn before a harmless one counts is for the judge to
    say, and a judge that reads the whole conversation may go on calling it harmful until that turn
    has moved out of sight.
    """
    others = [place for place, one in enumerate(messages) if one.role != "system"]
    last = set(others[-turns:])
    return tuple(one for place, one in enumerate(messages) if place in last or one.role == "system")
