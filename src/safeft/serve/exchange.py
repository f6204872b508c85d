"""One request on its way: what was asked, by which guard, and whether it may be asked at all."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safeft.guarding.decision import Decision
from safeft.guarding.policy import Policy
from safeft.guarding.releasing import reseeded
from safeft.records import Prompt
from safeft.serve.conversation import asked, chat_prompts, text_prompts
from safeft.serve.guardroom import Guard
from safeft.serve.moderation import moderation
from safeft.serve.problems import Problem, invalid, unguarded
from safeft.serve.reading import UnreadableError, write
from safeft.serve.shapes import CHAT, Shape
from safeft.serve.track import Check, Track
from safeft.serve.upstream import Upstream

_MOST_AT_ONCE = 256  # windows of one answer: what follows a block is not read


@dataclass
class Exchange:
    """A request, and all that belongs to it."""

    shape: Shape
    body: dict[str, Any]
    raw: bytes
    headers: list[tuple[str, str]]
    prompts: list[Prompt]
    guard: Guard
    upstream: Upstream
    input: list[Decision] = field(default_factory=list)

    @property
    def policy(self) -> Policy:
        """What it is checked by, from its beginning to its end."""
        return self.guard.policy

    @property
    def streams(self) -> bool:
        """Whether the answer is to come in pieces. Raises Problem."""
        return _flag(self.body.get("stream"), "stream")

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage. Raises Problem."""
        options = self.body.get("stream_options")
        if options is None:
            return False
        if not isinstance(options, dict):
            raise invalid("stream_options must be an object", "stream_options")
        return _flag(options.get("include_usage"), "stream_options.include_usage")

    def sent(self, attempt: int) -> bytes:
        """What the upstream is asked: the client's own bytes, later with another seed."""
        if attempt == 0:
            return self.raw
        seed = self.body.get("seed")
        drawn = reseeded(seed if isinstance(seed, int) else 0, attempt)
        return write(self.body | {"seed": drawn}).encode()

    async def check_input(self) -> bool:
        """Whether it may be asked. Raises Problem when the guard could not tell."""
        self.input = await self.guard.decide("input", asked(self.prompts))
        failure = next((one for one in self.input if one.outcome == "error"), None)
        if failure is not None:
            raise unguarded(failure.error, moderation(self.input, []))
        return all(one.clears for one in self.input)

    def prompt(self, index: object) -> Prompt:
        """What the choice of that index answers. Raises UnreadableError when none was asked for."""
        if not isinstance(index, int) or isinstance(index, bool):
            raise UnreadableError("a choice has no index")
        if not 0 <= index < len(self.prompts):
            raise UnreadableError("a choice has an index that was not asked for")
        return self.prompts[index]

    def moderated(self, tracks: Iterable[Track]) -> dict[str, Any]:
        """The `moderation` object."""
        return moderation(self.input, [one.decisions for one in tracks])

    def failure(self, tracks: Iterable[Track]) -> Problem | None:
        """The guard's own failure, when the policy says to withhold then."""
        tracks = list(tracks)
        for track in tracks:
            if track.stopped is not None and track.stopped.outcome == "error":
                return unguarded(track.stopped.error, self.moderated(tracks))
        return None


def exchange(
    shape: Shape,
    body: dict[str, Any],
    raw: bytes,
    headers: list[tuple[str, str]],
    guard: Guard,
    upstream: Upstream,
    id: str,
) -> Exchange:
    """Reads a request. Raises Problem when it has another shape than the API's."""
    if shape is CHAT:
        prompts = chat_prompts(body, guard.policy.turns, id)
    else:
        prompts = text_prompts(body, id)
    made = Exchange(shape, body, raw, headers, prompts, guard, upstream)
    _ = made.streams, made.wants_usage
    return made


async def settle(guard: Guard, checks: list[Check]) -> None:
    """Has windows decided, each stage in one go, and tells their gates in order."""
    for start in range(0, len(checks), _MOST_AT_ONCE):
        some = [one for one in checks[start : start + _MOST_AT_ONCE] if one.track.stopped is None]
        ordered = sorted(some, key=lambda one: one.stage)
        groups = [list(group) for _, group in itertools.groupby(ordered, lambda one: one.stage)]
        found = await asyncio.gather(
            *(guard.decide(group[0].stage, [one.read for one in group]) for group in groups)
        )
        for group, decisions in zip(groups, found, strict=True):
            for check, decision in zip(group, decisions, strict=True):
                check.track.settle(check, decision)


def finished(choice: Mapping[str, Any]) -> bool:
    """Whether a choice ends here."""
    return choice.get("finish_reason") is not None


def _flag(value: object, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name} must be true or false", name.partition(".")[0])
    return bool(value)
