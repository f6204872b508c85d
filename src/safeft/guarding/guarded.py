"""A generator that releases only what a policy's judges have cleared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

from safeft.generation.generator import Generator
from safeft.generation.transformers import TransformersGenerator
from safeft.guarding.checker import Checker
from safeft.guarding.policy import Policy
from safeft.guarding.releasing import Released, Watch, redrawn, released, requested
from safeft.guarding.states import attach
from safeft.guarding.streaming import GuardedStream
from safeft.records import Decoding, Finish, Prompt, Response


class Guarded:
    """Wraps a generator: same protocol, same name and engine, but no uncleared text leaves.

    A blocked prompt is never asked. An answer that the policy would have regenerated is asked for
    again with other seeds (`releasing.redrawn`); at temperature 0 there is no other answer, so it
    is withheld at once. `watch` is told every decision, also those that let everything leave.
    """

    def __init__(self, generator: Generator, checker: Checker, watch: Watch | None = None) -> None:
        """Raises ConfigError for a probe that does not fit the generator's model."""
        self.generator = generator
        self.checker = checker
        self.watch = watch
        if isinstance(generator, TransformersGenerator):
            attach(checker, generator.model, generator.tokenizer)

    @property
    def policy(self) -> Policy:
        """What is withheld, and what is said instead."""
        return self.checker.policy

    @property
    def name(self) -> str:
        """The wrapped generator's name."""
        return self.generator.name

    @property
    def engine(self) -> str:
        """The wrapped generator's engine."""
        return self.generator.engine

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order: the answer as far as it is cleared, or the refusal.

        What is withheld has the finish `withheld`; an answer that the policy replaces ends like
        any other. Raises what the wrapped generator raises, and nothing for what a judge does.
        """
        decisions = requested(self.checker, prompts, self.watch)
        asked = [one for one, found in zip(prompts, decisions, strict=True) if found.clears]
        answers = iter(self._answers(asked, decoding) if asked else [])
        return [
            next(answers) if found.clears else Response(one, self.policy.refusal, "withheld")
            for one, found in zip(prompts, decisions, strict=True)
        ]

    async def answer(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """The same without blocking the event loop: it runs in a thread."""
        return await asyncio.to_thread(self, prompts, decoding)

    def stream(self, prompt: Prompt, decoding: Decoding) -> GuardedStream:
        """One answer in pieces, each as soon as it is cleared.

        What cannot be streamed, for lack of a method `stream(prompt, decoding) -> Iterator[str]`,
        is answered whole and then released.
        """

        def source(attempt: int) -> Iterator[str]:
            chosen = redrawn(decoding, attempt) if attempt else decoding
            streamed = getattr(self.generator, "stream", None)
            if streamed is not None:
                return iter(streamed(prompt, chosen))
            return iter([one.text for one in self.generator([prompt], chosen)])

        output = self.policy.output
        more = output.regenerate if output is not None and decoding.temperature > 0 else 0
        return GuardedStream(self.checker, prompt, source, regenerate=more, watch=self.watch)

    def astream(self, prompt: Prompt, decoding: Decoding) -> GuardedStream:
        """The same, for `async for`: each piece is waited for in a thread."""
        return self.stream(prompt, decoding)

    def _answers(self, asked: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        responses = list(self.generator(asked, decoding))

        def again(places: list[int], attempt: int) -> list[str]:
            others = self.generator([asked[one] for one in places], redrawn(decoding, attempt))
            for place, other in zip(places, others, strict=True):
                responses[place] = other
            return [responses[place].text for place in places]

        found = released(
            self.checker,
            asked,
            [one.text for one in responses],
            again=again if decoding.temperature > 0 else None,
            watch=self.watch,
        )
        return [_response(*pair) for pair in zip(responses, found, strict=True)]


def _response(answer: Response, leaves: Released) -> Response:
    """The response as it leaves; nothing but the prompt is kept of an answer that does not."""
    if leaves.kind == "whole":
        return answer
    if leaves.kind == "redacted":
        return replace(answer, text=leaves.text)
    finish: Finish = "stop" if leaves.kind == "replaced" else "withheld"
    return Response(answer.prompt, leaves.text, finish)
