"""A guard judge that is a language model: its own prompt, greedy, read in its documented format."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from threading import RLock

from safeft.errors import ConfigError, PromptError, SafeftError, UserError
from safeft.generation import Generator
from safeft.guarding.asking import Asked, EndpointAsker, Said
from safeft.guarding.decision import OVERALL
from safeft.guarding.forms import Way, prompt_hash, ways
from safeft.guarding.schema import Kind, PromptedFile
from safeft.guarding.words import Told, chance, told
from safeft.judges import templates
from safeft.judges.identity import code, identity
from safeft.models.files import weights_of
from safeft.records import Decoding, Label, Prompt, Response, Verdict

_LOG = logging.getLogger("safeft")
_HERE = Path(__file__).parent
RULES = ("asking", "forms", "prompted", "words")
SURE = 0.5  # from this score on a verdict says unsafe; what is done is the policy's to say


class PromptedGuard:
    """Asks a guard model about requests and exchanges, once for each criterion if it has any.

    A score is P(unsafe) by the verdict's first token, or 1 and 0 by its words. The categories that
    the model names have it, and where it names none, `unsafe`; all others are 0. Words that do not
    follow the documented format are `unread`, and so is a text of which one criterion is.
    """

    measures = "harmful content"

    def __init__(self, spec: PromptedFile, asker: Callable[[Asked], Generator]) -> None:
        """`asker` makes the engine, when it is first needed.

        Raises ConfigError or ModelError when the judge's prompt cannot be read.
        """
        self.spec = spec
        self.categories = spec.categories
        self._ways = ways(spec)
        self.reads: frozenset[Kind] = frozenset(one.kind for one in self._ways)
        self._asker = asker
        # A model in this process serves one thread at a time; an endpoint serves as many as come.
        self._alone = RLock()
        written = spec.model_dump_json(exclude={"name", "model", "endpoint", "engine"})
        weights = f"{spec.model} at {spec.engine}" if spec.remote else weights_of(spec.model)
        asked = prompt_hash(self._ways, "" if spec.remote else spec.model)
        content = written, asked, weights, code(Path(templates.__file__))
        self.name = identity(spec.name, RULES, *content, folder=_HERE)

    @cached_property
    def _engine(self) -> Generator:
        probable = self.spec.score == "probability"
        words = [word for one in self._ways for word in one.read.words] if probable else []
        form = self.spec.template
        told = {one.key: one.arguments for one in self._ways}
        return self._asker(Asked(form.raw, form.parts, tuple(dict.fromkeys(words)), told))

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per text that wants to leave, in order."""
        return self._verdicts("exchange", [(one.prompt, one.text) for one in responses])

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """One verdict per conversation whose last turn is a request, in order.

        Raises ConfigError when this judge reads answers only.
        """
        if "request" not in self.reads:
            raise ConfigError(f"judge {self.name} reads answers only; name another for `input`")
        return self._verdicts("request", [(one, None) for one in prompts])

    def _verdicts(self, kind: Kind, cases: Sequence[tuple[Prompt, str | None]]) -> list[Verdict]:
        asking = [one for one in self._ways if one.kind == kind]
        asked = {
            (place, way.criterion): way.prompt(f"{place}/{way.key}", *case)
            for place, case in enumerate(cases)
            for way in asking
        }
        said = {one.prompt.id: one for one in self._answers(list(asked.values()))}
        return [
            self._verdict(
                prompt, [(way, said.get(asked[place, way.criterion].id)) for way in asking]
            )
            for place, (prompt, _) in enumerate(cases)
        ]

    def _answers(self, asked: list[Prompt]) -> list[Response]:
        """What the model says; a prompt beyond its context gets no answer, and will be unread."""
        decoding = Decoding(0.0, 0, self.spec.max_new_tokens)
        with self._turn():
            engine = self._engine
        while asked:
            try:
                with self._turn():
                    return self._asked(engine, asked, decoding)
            except PromptError as error:
                _LOG.warning("judge %s: a text is unread: it %s", self.name, error.problem)
                asked = [one for one in asked if one.id != error.id]
        return []

    def _asked(self, engine: Generator, asked: list[Prompt], decoding: Decoding) -> list[Response]:
        """The answers; where an endpoint fails on some, those that came. Raises when none did."""
        if not isinstance(engine, EndpointAsker):
            return engine(asked, decoding)
        found: list[Response] = []
        try:
            for one in engine.answers(asked, decoding):
                found.append(one)
        except SafeftError as error:
            if isinstance(error, UserError) or not found:
                raise
            _LOG.warning("judge %s: a text is unread: %s", self.name, type(error).__name__)
        return found

    def _turn(self) -> AbstractContextManager[object]:
        ready = "_engine" in self.__dict__
        return nullcontext() if ready and self.spec.remote else self._alone

    def _verdict(self, prompt: Prompt, said: Sequence[tuple[Way, Response | None]]) -> Verdict:
        scores = dict.fromkeys(self.categories, 0.0)
        for way, response in said:
            found = self._read(way, response)
            if found is None:
                return Verdict(prompt.id, Label.UNREAD, self.name)
            reading, score = found
            named = (way.criterion,) if way.criterion else reading.categories or (OVERALL,)
            scores |= dict.fromkeys(named, score)
        label = Label.FULFILLED if max(scores.values()) >= SURE else Label.NEITHER
        return Verdict(prompt.id, label, self.name, scores)

    def _read(self, way: Way, response: Response | None) -> tuple[Told, float] | None:
        """The verdict in words, and the score."""
        if response is None or response.finish == "withheld":
            return None
        found = told(way.read, response.text, whole=response.finish == "stop")
        if found is None or self.spec.score == "words":
            return None if found is None else (found, float(found.unsafe))
        masses = response.masses(found.place) if isinstance(response, Said) else None
        score = chance(masses or {}, way.read.words)
        if score is None:
            _LOG.warning(
                "judge %s: a verdict is unread, since it came without the probabilities of its "
                "words; set `score: words` where %s gives none",
                self.name,
                self.spec.engine,
            )
        return None if score is None else (found, score)
