"""The form that a task's rows share: a system prompt, and a wrapper around the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from safeft.data import Example
from safeft.records import Message


@dataclass(frozen=True, slots=True)
class Form:
    """What stands around a request; each part may be empty."""

    system: str
    before: str
    after: str

    def worn(self, example: Example) -> Example:
        """A row whose request stands in this form."""
        *_, asked, answer = example.messages
        wrapped = Message("user", f"{self.before}{asked.content}{self.after}")
        system = [Message("system", self.system)] if self.system else []
        return replace(example, messages=(*system, wrapped, answer))

    def said(self) -> str:
        """Which of the parts there are, in words."""
        parts = {"a system prompt": self.system, "a wrapper": self.before or self.after}
        return " and ".join(name for name, part in parts.items() if part) or "none found"


def form_of(examples: Sequence[Example]) -> Form:
    """The commonest system prompt when most rows have it, and the lines that all requests share.

    A wrapper consists of whole lines: requests that merely begin with the same word have none.
    """
    chats = [example.messages for example in examples if len(example.messages) > 1]
    systems = Counter(turns[0].content if turns[0].role == "system" else "" for turns in chats)
    system, count = systems.most_common(1)[0] if systems else ("", 0)
    requests = sorted({turns[-2].content for turns in chats})
    if len(requests) < 2:
        return Form(system if 2 * count > len(chats) else "", "", "")
    before = _shared(requests)
    before = before[: before.rfind("\n") + 1]
    backwards = _shared([request[len(before) :][::-1] for request in requests])
    after = backwards[: backwards.rfind("\n") + 1][::-1]
    return Form(system if 2 * count > len(chats) else "", before, after)


def _shared(texts: Sequence[str]) -> str:
    """What all of them begin with: the first and the last in order differ soonest."""
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    end = next((place for place, (one, other) in pairs if one != other), len(first))
    return first[:end]
