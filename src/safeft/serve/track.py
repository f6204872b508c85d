"""One choice on its way out: its texts in gates, and its chunks held until these clear them.

Knows no I/O. A whole answer is one chunk, so that it is read as a stream is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from safeft.guarding.decision import Decision
from safeft.guarding.gate import Gate
from safeft.guarding.policy import Policy, StageName
from safeft.guarding.windows import Window
from safeft.guarding.windows import tokens as counted
from safeft.records import Prompt, Response
from safeft.serve.channels import TOKENS, Channel, Piece, pieces, tokens
from safeft.serve.reading import UnreadableError, whole

_KEPT = ("role", "reasoning", "reasoning_content", "tool_calls", "function_call")
_REDACTED = ("content", "refusal", "text")


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk: one choice, what is around it, and its bytes as they came."""

    choice: dict[str, Any]
    body: dict[str, Any]
    data: str = ""
    order: int = 0


class Check(NamedTuple):
    """A window that wants a decision."""

    track: Track
    stage: StageName
    gate: Gate
    read: Response


class Span(NamedTuple):
    """The stretch of one text that a chunk carries."""

    channel: Channel
    gate: Gate
    start: int
    stop: int


@dataclass
class _Held:
    """A chunk that waits: for its texts, and with token ids for the text that they spell."""

    part: Part
    stages: set[StageName]
    spans: list[Span] = field(default_factory=list)
    needs: list[tuple[Gate, int]] = field(default_factory=list)
    waits: bool = False

    @property
    def ready(self) -> bool:
        """Whether it may leave."""
        return not self.waits and all(gate.cleared >= stop for gate, stop in self.needs)


class Track:
    """Takes the chunks of one choice and gives them back, in order, once they are cleared."""

    def __init__(
        self, policy: Policy, prompt: Prompt, said: str, *, optimistic: bool = False
    ) -> None:
        """`said` names what holds the texts: message, delta, or nothing for completions."""
        self._stages, self._redaction = policy.stages, policy.redaction
        self._prompt, self._said = prompt, said
        self._optimistic = optimistic
        self._gates: dict[Channel, Gate] = {}
        self._held: deque[_Held] = deque()
        self._beside: set[Piece] = set()
        self._tokens_differ = False
        self.pending = 0
        """Characters of chunks that have not left."""
        self.ended = False
        self.left: set[StageName | None] = set()
        """The stages that text has left of; None when any chunk has."""
        self.stopped: Decision | None = None
        self.decisions: list[Decision] = []
        self.leaked = 0

    def take(self, part: Part, beside: Iterable[Piece] = ()) -> list[Check]:
        """A chunk, and whole texts beside the choice; gives what is ready to be checked.

        Raises UnreadableError when it has another shape than the API's, or comes after the end.
        """
        if self.stopped is not None:
            return []
        found = self._pieces(part.choice)
        if found and self.ended:
            raise UnreadableError("text came after a finish_reason")
        held = _Held(part, {piece.channel.stage for piece in found})
        checks = [one for piece in found for one in self._feed(held, piece)]
        held.waits = not found and bool(part.choice.get("token_ids"))
        if found:
            self._spelled(held.needs)
        checks += [one for piece in beside for one in self._whole(held, piece)]
        self._held.append(held)
        self.pending += len(part.data)
        return checks

    def finish(self) -> list[Check]:
        """Nothing more comes; gives the windows of what is left."""
        if self.stopped is not None or self.ended:
            return []
        self.ended = True
        checks = [
            check
            for channel, gate in self._gates.items()
            for check in self._checks(channel, gate, gate.end())
        ]
        everything = [(gate, len(gate.text)) for gate in self._gates.values()]
        self._spelled(everything)
        if self._held:
            self._held[-1].needs = everything
        return checks

    def settle(self, check: Check, decision: Decision) -> None:
        """The decision on the oldest window of a gate; the first that stops it drops the rest."""
        before = check.gate.leaked
        check.gate.settle(decision)
        self.leaked += check.gate.leaked - before
        self.decisions.append(decision)
        if check.gate.stopped is not None and self.stopped is None:
            self.stopped = check.gate.stopped
            self._held.clear()
            self.pending = 0

    def release(self, before: float = float("inf")) -> list[tuple[Part, dict[str, Any]]]:
        """The chunks that may leave, up to an order, and the choice of each.

        That is its own, unless something was redacted from it.
        """
        found = []
        while self._held and self._held[0].ready and self._held[0].part.order < before:
            held = self._held.popleft()
            self.pending -= len(held.part.data)
            self.left |= {None, *held.stages}
            found.append((held.part, self._rendered(held)))
        return found

    @property
    def tokens(self) -> int:
        """About how many tokens have come of its texts."""
        texts = [str(gate.text) for channel, gate in self._gates.items() if channel.key != TOKENS]
        return sum(map(counted, texts))

    @property
    def first(self) -> float:
        """The order of the oldest chunk that has not left."""
        return self._held[0].part.order if self._held else float("inf")

    def _feed(self, held: _Held, piece: Piece) -> list[Check]:
        if (gate := self._gate(piece.channel)) is None:
            return []
        start = len(gate.text)
        checks = self._checks(piece.channel, gate, gate.feed(piece.text))
        held.spans.append(Span(piece.channel, gate, start, len(gate.text)))
        held.needs.append((gate, len(gate.text)))
        return checks

    def _whole(self, held: _Held, piece: Piece) -> list[Check]:
        """A text that is complete; one that stands beside every chunk is read once."""
        if piece in self._beside:
            return []
        self._beside.add(piece)
        channel = Channel(piece.channel.stage, f"beside {len(self._beside)}")
        checks = self._feed(held, Piece(channel, piece.text))
        gate = self._gate(channel)
        return checks if gate is None else checks + self._checks(channel, gate, gate.end())

    def _pieces(self, choice: dict[str, Any]) -> list[Piece]:
        """Its texts; and its tokens, from where on they spell something else than the texts."""
        found = pieces(choice, self._said)
        spelled = tokens(choice)
        self._tokens_differ |= spelled not in ("", "".join(text for _, text in found))
        if spelled and self._tokens_differ:
            found.append(Piece(Channel("output", TOKENS), spelled))
        return found

    def _gate(self, channel: Channel) -> Gate | None:
        """The text's gate; None when the policy does not read its stage."""
        gate = self._gates.get(channel)
        if gate is None and (stage := self._stages.get(channel.stage)) is not None:
            gate = Gate(stage, self._redaction, optimistic=self._optimistic)
            self._gates[channel] = gate
        return gate

    def _checks(self, channel: Channel, gate: Gate, windows: list[Window]) -> list[Check]:
        return [
            Check(self, channel.stage, gate, Response(self._prompt, whole(window.read)))
            for window in windows
        ]

    def _spelled(self, needs: list[tuple[Gate, int]]) -> None:
        """The text has come that earlier chunks' token ids spell: they leave with it."""
        for held in reversed(self._held):
            if not held.waits:
                break
            held.needs, held.waits = needs, False

    def _rendered(self, held: _Held) -> dict[str, Any]:
        texts: dict[str, str] = {}
        changed = False
        for channel, gate, start, stop in held.spans:
            text = gate.render(start, stop)
            changed |= text != gate.text[start:stop]
            texts[channel.key] = text
        choice = held.part.choice
        return self._rewritten(choice, texts) if changed else choice

    def _rewritten(self, choice: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
        """The choice with other words: what could spell the removed ones is left out."""
        outside = {key: choice.get(key) for key in ("index", "finish_reason")}
        if not self._said:
            return outside | {"text": texts.get("text", ""), "logprobs": None}
        said = choice.get(self._said) or {}
        inside = {key: said[key] for key in _KEPT if key in said}
        inside |= {key: text for key, text in texts.items() if key in _REDACTED}
        return outside | {self._said: inside, "logprobs": None}
