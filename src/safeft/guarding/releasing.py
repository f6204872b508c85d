"""What leaves in place of whole answers, each read in the windows in which it would be streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision
from safeft.guarding.gate import Gate
from safeft.guarding.policy import Stage
from safeft.guarding.states import note
from safeft.records import Decoding, Prompt, Response

Watch = Callable[[Decision, Response], None]
"""Is told each decision, in order, with the conversation and the text that it is about."""

Again = Callable[[list[int], int], list[str]]
"""Other answers to some of the prompts, by their places; and the how-manieth time it is."""


@dataclass(frozen=True, slots=True)
class Released:
    """What leaves in place of one answer: all of it, a part, or the policy's words."""

    text: str
    kind: Literal["whole", "redacted", "replaced", "withheld"] = "whole"


def requested(checker: Checker, prompts: Sequence[Prompt], watch: Watch | None) -> list[Decision]:
    """The input stage's decision on each prompt, in order."""
    texts = [Response(one, "") for one in prompts]
    decisions = checker.decide("input", texts)
    if watch is not None and checker.policy.input is not None:
        for decision, text in zip(decisions, texts, strict=True):
            watch(decision, text)
    return decisions


def released(
    checker: Checker,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    *,
    again: Again | None = None,
    watch: Watch | None = None,
) -> list[Released]:
    """What leaves in place of each answer. All windows of all answers are read in one check.

    `again` draws other answers where the policy says `regenerate`; without it, and when none of
    as many as the policy allows is cleared, the answer is withheld.
    """
    stage = checker.policy.output
    if stage is None:
        return [Released(one) for one in texts]
    gates = _gated(checker, stage, prompts, texts, watch)
    for attempt in range(1, stage.regenerate + 1 if again else 1):
        wanted = [place for place, gate in enumerate(gates) if _regenerates(gate)]
        if not wanted or again is None:
            break
        drawn = again(wanted, attempt)
        asked = [prompts[place] for place in wanted]
        for place, gate in zip(wanted, _gated(checker, stage, asked, drawn, watch), strict=True):
            gates[place] = gate
    return [_released(gate, checker.policy.refusal) for gate in gates]


def redrawn(decoding: Decoding, attempt: int) -> Decoding:
    """The decoding of an answer that is asked for again.

    Its seed is the first four bytes of sha256("SEED again ATTEMPT"), so that it is none of the
    small numbers with which other answers are drawn.
    """
    return replace(decoding, seed=reseeded(decoding.seed, attempt))


def reseeded(seed: int, attempt: int) -> int:
    """The seed of an answer that is asked for again, below 2^31."""
    drawn = hashlib.sha256(f"{seed} again {attempt}".encode()).digest()[:4]
    return int.from_bytes(drawn, "big") >> 1


def _gated(
    checker: Checker,
    stage: Stage,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    watch: Watch | None,
) -> list[Gate]:
    """Each answer behind its gate, with every window decided. Nothing of it has left yet."""
    gates = [Gate(stage, checker.policy.redaction) for _ in texts]
    note(checker, [Response(*pair) for pair in zip(prompts, texts, strict=True)])
    read, owners = [], []
    for prompt, text, gate in zip(prompts, texts, gates, strict=True):
        windows = [*gate.feed(text), *gate.end()]
        read += [Response(prompt, window.read) for window in windows]
        owners += [gate] * len(windows)
    decisions = checker.decide("output", read)
    for gate, decision, one in zip(owners, decisions, read, strict=True):
        if watch is not None and gate.stopped is None:
            watch(decision, one)
        gate.settle(decision)
    return gates


def _regenerates(gate: Gate) -> bool:
    return gate.stopped is not None and gate.stopped.action == "regenerate"


def _released(gate: Gate, refusal: str) -> Released:
    if gate.stopped is not None:
        return Released(refusal, "replaced" if gate.stopped.action == "replace" else "withheld")
    text = gate.render(0, gate.cleared)
    return Released(text, "whole" if text == str(gate.text) else "redacted")
