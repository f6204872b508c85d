"""A prompted judge behind an endpoint, whose verdicts are handed over as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

from safeft.generation.endpoint import EndpointGenerator
from safeft.judges.prompted import PromptedJudge
from safeft.judges.schema import JudgeFile
from safeft.records import Decoding, Prompt, Response, Verdict


class EndpointJudge(PromptedJudge):
    """Judges as its base does, and lets each verdict be kept before the next request fails.

    Nothing here decides a verdict, so that this code is no part of the judge's name.
    """

    def __init__(self, spec: JudgeFile, generator: Callable[[], EndpointGenerator]) -> None:
        """Raises ConfigError when the judge's prompt cannot be read."""
        self._endpoint = cache(generator)  # one, so that gold cases and answers share its rate
        super().__init__(spec, self._endpoint)

    def asks(self, response: Response) -> Prompt:
        """What its model would be asked about a response."""
        return self._asked(0, response)

    def verdicts(self, responses: Sequence[Response]) -> Iterator[Verdict]:
        """One verdict per response, in any order, each read by itself.

        A response that got none holds up no other; at the end it is raised. Raises ModelError when
        the judge fails its gold cases or the endpoint refuses it, and SafeftError when it failed.
        """
        if not (responses and self._proved):
            return
        yield from (self._verdict(one, None) for one in responses if one.finish == "withheld")
        asked = [
            self._asked(place, one)
            for place, one in enumerate(responses)
            if one.finish != "withheld"
        ]
        for said in self._endpoint().answers(asked, Decoding(0.0, 0, self.spec.max_new_tokens)):
            yield self._verdict(responses[int(said.prompt.id)], said.text)
