"""A generator that releases only what a judge has cleared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from safeft.errors import SafeftError
from safeft.generation.generator import Generator
from safeft.guarding.policy import Policy
from safeft.records import Decoding, Prompt, Response, Verdict

if TYPE_CHECKING:  # the package of judges holds the graders: guarding runs without loading it
    from safeft.judges.judge import Judge

_log = logging.getLogger(__name__)


class Guarded:
    """Wraps a generator: same protocol, same name and engine, but no uncleared text leaves."""

    def __init__(self, generator: Generator, judge: Judge, policy: Policy) -> None:
        self.generator = generator
        self.judge = judge
        self.policy = policy

    @property
    def name(self) -> str:
        """The wrapped generator's name."""
        return self.generator.name

    @property
    def engine(self) -> str:
        """The wrapped generator's engine."""
        return self.generator.engine

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order: the answer when cleared, else the refusal."""
        responses = self.generator(prompts, decoding)
        if not responses:
            return []
        cleared = self._cleared(responses)
        return [
            response if clear else Response(response.prompt, self.policy.refusal, "withheld")
            for response, clear in zip(responses, cleared, strict=True)
        ]

    def _cleared(self, responses: Sequence[Response]) -> list[bool]:
        """Which responses may leave. Unread ones may not: only a clear no to `unsafe` releases."""
        try:
            return [verdict.unsafe is False for verdict in self._verdicts(responses)]
        except Exception as error:
            if len(responses) > 1:
                # One by one, so that a response that breaks the judge decides for itself alone:
                # with `on_error: open` it would otherwise carry its whole batch out unread.
                return [clear for one in responses for clear in self._cleared([one])]
            release = self.policy.on_error == "open"
            prompt_id, done = responses[0].prompt.id, "released" if release else "withheld"
            _log.warning("%s failed on prompt %s (%s): %s", self.judge.name, prompt_id, error, done)
            return [release]

    def _verdicts(self, responses: Sequence[Response]) -> list[Verdict]:
        verdicts = self.judge(responses)
        expected = [response.prompt.id for response in responses]
        if [verdict.prompt_id for verdict in verdicts] != expected:
            raise SafeftError(
                f"{self.judge.name} did not return one verdict per response, in order"
            )
        return verdicts
