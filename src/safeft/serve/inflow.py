"""What has come of a stream: a track for each choice, and the windows that want a decision."""

from __future__ import annotations

from typing import Any

from safeft.serve.channels import around
from safeft.serve.exchange import Exchange, finished
from safeft.serve.problems import failed
from safeft.serve.reading import UnreadableError, read_object, write
from safeft.serve.shapes import kept
from safeft.serve.sse import Event
from safeft.serve.track import Check, Part, Track

_INF = float("inf")
_MOST_SAID = 500


class Inflow:
    """Takes events of the upstream and gives back the data of those that are cleared."""

    def __init__(self, exchange: Exchange) -> None:
        self.tracks: dict[int | None, Track] = {}
        self.checks: list[Check] = []
        self.envelope: dict[str, Any] = {}
        self.usage: dict[str, Any] | None = None
        self.last: list[str] = []
        """Chunks of usage, which come after everything else."""
        self._exchange = exchange
        self._order = 0
        self._told: set[int] = set()
        self._reported = 0

    def take(self, event: Event) -> bool:
        """One event; whether it was the last. Raises UnreadableError or Problem."""
        if event.data.strip() == "[DONE]":
            self.finish()
            return True
        body = read_object(event.data)
        if event.name == "error" or body.get("error"):
            raise failed(f"the upstream reported an error: {_message(body.get('error'))}")
        choices = body.get("choices")
        if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
            raise UnreadableError("a chunk without choices")
        self.envelope = self.envelope or kept(body)
        if isinstance(body.get("usage"), dict):
            self.usage = body["usage"]
        for choice in choices:
            data = event.data if len(choices) == 1 else write(body | {"choices": [choice]})
            self._take(self._index(choice), choice, body, data)
        if not choices:
            self._take(None, {}, body, event.data)
        return False

    def finish(self) -> None:
        """Nothing more comes."""
        for track in self.tracks.values():
            self.checks += track.finish()

    @property
    def complete(self) -> bool:
        """Whether every choice that was asked for came to its end."""
        begun = [self.tracks[index] for index in self.choices]
        ended = all(track.ended or track.stopped for track in begun)
        return ended and len(begun) == len(self._exchange.prompts)

    @property
    def choices(self) -> list[int]:
        """The choices that have begun."""
        return [index for index in self.tracks if index is not None]

    @property
    def pending(self) -> int:
        """Characters that are held."""
        return sum(track.pending for track in self.tracks.values())

    @property
    def spoke(self) -> bool:
        """Whether any text has left."""
        return any(track.left - {None} for track in self.tracks.values())

    @property
    def all_stopped(self) -> bool:
        """Whether nothing of any choice may leave any more."""
        stopped = {index for index, track in self.tracks.items() if track.stopped}
        return None in stopped or len(stopped) == len(self._exchange.prompts)

    def leaked(self) -> int:
        """Tokens that had left before they were held back, since this was last asked."""
        total = sum(track.leaked for track in self.tracks.values())
        new, self._reported = total - self._reported, total
        return new

    def release(self) -> list[str]:
        """The data of chunks that may leave: as they came, unless something was redacted."""
        found = []
        loose = self.tracks.get(None)
        if loose is not None and loose.stopped is not None:
            return []
        for index in self.choices:
            found += self.tracks[index].release()
        if loose is not None:
            found += loose.release(
                min((self.tracks[one].first for one in self.choices), default=_INF)
            )
        out: list[str] = []
        for part, choice in sorted(found, key=lambda one: one[0].order):
            into = self.last if not part.choice and part.body.get("usage") else out
            into.append(part.data if choice is part.choice else _rewritten(part, choice))
        return out

    def newly_stopped(self) -> list[int]:
        """Choices that were stopped and whose end has not been told."""
        every = self.tracks[None].stopped is not None if None in self.tracks else False
        asked = range(len(self._exchange.prompts))
        found = [
            index
            for index in asked
            if index not in self._told
            and (self._stopped(index) or (every and not self._gone(index)))
        ]
        self._told.update(found)
        return found

    def _stopped(self, index: int) -> bool:
        return index in self.tracks and self.tracks[index].stopped is not None

    def _gone(self, index: int) -> bool:
        """Whether a choice has left to its end."""
        return (
            index in self.tracks and self.tracks[index].ended and self.tracks[index].first == _INF
        )

    def _take(self, index: int | None, choice: dict[str, Any], body: Any, data: str) -> None:
        track = self.tracks.get(index)
        if track is None:
            track = self.tracks[index] = self._track(index)
        self._order += 1
        self.checks += track.take(Part(choice, body, data, self._order), around(body))
        if finished(choice):
            self.checks += track.finish()

    def _track(self, index: int | None) -> Track:
        exchange = self._exchange
        prompt = exchange.prompts[index or 0]
        optimistic = exchange.policy.streaming == "optimistic"
        return Track(exchange.policy, prompt, exchange.shape.delta, optimistic=optimistic)

    def _index(self, choice: dict[str, Any]) -> int:
        index = choice.get("index")
        self._exchange.prompt(index)
        assert isinstance(index, int)
        return index


def _rewritten(part: Part, choice: dict[str, Any]) -> str:
    usage = {"usage": part.body["usage"]} if "usage" in part.body else {}
    return write(kept(part.body) | {"choices": [choice]} | usage)


def _message(error: object) -> str:
    """What an upstream says is wrong, as far as it is short."""
    said = error.get("message") if isinstance(error, dict) else error
    return said[:_MOST_SAID] if isinstance(said, str) else "without a message"
