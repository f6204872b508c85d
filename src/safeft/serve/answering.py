"""Whole answers: read in the same windows as streams, and let out only when all are cleared."""

from __future__ import annotations

from typing import Any

from safeft.guarding.decision import Decision, Outcome
from safeft.serve.channels import around
from safeft.serve.conversation import MOST_CHOICES
from safeft.serve.exchange import Exchange, settle
from safeft.serve.moderation import strongest
from safeft.serve.problems import malformed
from safeft.serve.reading import UnreadableError, write
from safeft.serve.shapes import FILTERED, kept, summed, usage
from safeft.serve.track import Part, Track
from safeft.serve.upstream import Reply, reply_object

Choice = dict[str, Any]


class Answer:
    """What one call of the upstream gave, and what the guard makes of it."""

    def __init__(self, exchange: Exchange, reply: Reply) -> None:
        """Raises Problem when it has another shape than the API's."""
        self.reply = reply
        self.body = reply_object(reply.body)
        self.earlier: list[Decision] = []
        self._exchange = exchange
        try:
            self.tracks = [self._track(choice) for choice in self._choices()]
        except UnreadableError as error:
            raise malformed(f"the answer cannot be checked: {error}") from error

    def _choices(self) -> list[Choice]:
        found = self.body.get("choices")
        if not isinstance(found, list) or not found or not all(map(_is_object, found)):
            raise UnreadableError("it holds no choices")
        return found

    def _track(self, choice: Choice) -> tuple[Choice, Track]:
        prompt = self._exchange.prompt(choice.get("index"))
        return choice, Track(self._exchange.policy, prompt, self._exchange.shape.said)

    async def check(self) -> None:
        """Has all of its windows decided. Raises Problem when the guard could not tell."""
        checks = []
        try:
            beside = around(self.body)
            for place, (choice, track) in enumerate(self.tracks):
                checks += track.take(Part(choice, self.body), () if place else beside)
                checks += track.finish()
        except UnreadableError as error:
            raise malformed(f"the answer cannot be checked: {error}") from error
        await settle(self._exchange.guard, checks)
        if problem := self._exchange.failure(track for _, track in self.tracks):
            raise problem

    def choice(self, place: int) -> Choice:
        """One of its choices, as it may leave."""
        choice, track = self.tracks[place]
        if track.stopped is None:
            ((_, rendered),) = track.release()
            return rendered
        finish = "stop" if track.stopped.action == "replace" else FILTERED
        refusal = self._exchange.policy.refusal
        return self._exchange.shape.choice(choice["index"], refusal, finish)

    @property
    def decisions(self) -> list[Decision]:
        """What was decided about its choices."""
        return [one for _, track in self.tracks for one in track.decisions]

    @property
    def again(self) -> bool:
        """Whether a choice is to be asked for once more."""
        return any(one.stopped and one.stopped.action == "regenerate" for _, one in self.tracks)


async def answer(exchange: Exchange) -> tuple[Reply, Outcome]:
    """The answer, as it may leave, and what was done. Raises Problem."""
    output = exchange.policy.output
    tries = output.regenerate if output is not None else 0
    found: Answer | None = None
    for attempt in range(tries + 1):
        new = await _asked(exchange, attempt)
        found = new if found is None else _better(found, new)
        if not found.again:
            break
    assert found is not None
    return _made(exchange, found)


async def _asked(exchange: Exchange, attempt: int) -> Answer:
    reply = await exchange.upstream.ask(
        "POST", exchange.shape.path, exchange.headers, exchange.sent(attempt)
    )
    found = Answer(exchange, reply)
    await found.check()
    return found


def _better(old: Answer, new: Answer) -> Answer:
    """The old choices, those to be regenerated replaced by the new ones of their index."""
    by_index = {choice["index"]: (choice, track) for choice, track in new.tracks}
    new.tracks = [
        by_index.get(choice["index"], (choice, track))
        if track.stopped is not None and track.stopped.action == "regenerate"
        else (choice, track)
        for choice, track in old.tracks
    ]
    new.body["usage"] = summed(old.body.get("usage"), new.body.get("usage"))
    new.earlier = [*old.earlier, *old.decisions]
    return new


def _made(exchange: Exchange, found: Answer) -> tuple[Reply, Outcome]:
    """The upstream's own bytes when nothing was changed, else what is left of them."""
    choices = [found.choice(place) for place in range(len(found.tracks))]
    outcome = strongest([*exchange.input, *found.earlier, *found.decisions])
    if any(one["finish_reason"] == FILTERED for one in choices):
        outcome = "block"
    if all(ours is theirs for ours, (theirs, _) in zip(choices, found.tracks, strict=True)):
        body = found.body | {"choices": choices}
        return (Reply(_bytes(body), found.reply.headers) if found.earlier else found.reply), outcome
    body = kept(found.body) | {"choices": choices}
    if "usage" in found.body:
        body["usage"] = found.body["usage"]
    if any(track.stopped for _, track in found.tracks):
        body["moderation"] = exchange.moderated(track for _, track in found.tracks)
    return Reply(_bytes(body), found.reply.headers), outcome


def withheld(exchange: Exchange) -> Reply:
    """The answer to a request that is not passed on."""
    indices = range(min(len(exchange.prompts), MOST_CHOICES))
    body = exchange.shape.envelope(exchange.body.get("model"), stream=False) | {
        "choices": [
            exchange.shape.choice(place, exchange.policy.refusal, FILTERED) for place in indices
        ],
        "usage": usage(0, 0),
        "moderation": exchange.moderated([]),
    }
    return Reply(_bytes(body), {})


def _bytes(body: dict[str, Any]) -> bytes:
    return write(body).encode()


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
