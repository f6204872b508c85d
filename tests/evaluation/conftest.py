"""Fakes whose answers depend on the whole batch, as a real engine's do, and a judge like that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import pytest

from safeft.generation import Generator
from safeft.judges import Judge
from safeft.records import Decoding, Label, Prompt, Response, Verdict


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


class InterruptedRunError(Exception):
    """Stands for whatever ends a run in the middle."""


class _Fake:
    """Fails at the call number `fails`; counts calls."""

    name = "fake"

    def __init__(self, fails: int | None = None) -> None:
        self.fails = fails
        self.calls = 0

    def called(self) -> None:
        self.calls += 1
        if self.calls - 1 == self.fails:
            raise InterruptedRunError


class Plain(_Fake):
    """A generator without batches of its own."""

    engine = "fake"

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        self.called()
        ids = [one.id for one in prompts]
        return [
            Response(one, _digest(one.text, decoding, ids), "length", len(one.text))
            for one in prompts
        ]


class Batching(Plain):
    """A generator with batches of seven, in an order of its own."""

    def batches(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[list[Prompt]]:
        ordered = sorted(prompts, key=lambda one: (_digest(one.id), one.id))
        for start in range(0, len(ordered), 7):
            yield ordered[start : start + 7]

    def answer(self, batch: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        return Plain.__call__(self, batch, decoding)

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        raise AssertionError("a batched generator is asked batch by batch")


class Reader(_Fake):
    """A judge whose score depends on what it reads together."""

    measures = "fulfilment"
    name = "reader@1"

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        self.called()
        whole = _digest([one.text for one in responses])
        return [
            Verdict(one.prompt.id, Label.REFUSED, self.name, {"p": int(whole, 16) / 16**12})
            for one in responses
        ]


@pytest.fixture(params=[Plain, Batching], ids=["plain", "batched"])
def fake(request: pytest.FixtureRequest) -> Callable[..., Generator]:
    """Makes generators: `fails` is the call that raises."""
    made: Callable[..., Generator] = request.param
    return made


@pytest.fixture
def reader() -> Callable[..., Judge]:
    """Makes judges: `fails` is the call that raises."""
    return Reader


@pytest.fixture
def interrupted() -> type[Exception]:
    """What a fake raises when it fails."""
    return InterruptedRunError
