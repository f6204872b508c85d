"""The generator protocol: prompts in, responses out, in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from safeft.records import Decoding, Prompt, Response


class Generator(Protocol):
    """Anything that answers prompts: an engine, an endpoint, or a guard around one of them."""

    @property
    def name(self) -> str:
        """Which model answers, for reports."""

    @property
    def engine(self) -> str:
        """What runs it: transformers, vllm, openai or scripted."""

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order."""


@runtime_checkable
class Streaming(Protocol):
    """A generator that hands over each answer as it comes: an endpoint's are paid for."""

    def answers(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Response]:
        """One response per prompt, in any order."""

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order."""
