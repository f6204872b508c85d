"""A judge that is a language model: its own prompt, greedy, read by a documented pattern."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from safeft.assets import folder
from safeft.errors import ModelError, PromptError
from safeft.generation import Generator
from safeft.judges.coherence import broken
from safeft.judges.gold import read_gold
from safeft.judges.identity import identity
from safeft.judges.schema import JudgeFile
from safeft.judges.templates import fill, harmless, template
from safeft.models.files import model_file, weights_of
from safeft.records import Decoding, Label, Message, Prompt, Response, Verdict

_LOG = logging.getLogger("safeft")
RULES = ("coherence", "prompted", "templates")


class PromptedJudge:
    """Asks `generator()` about each response at temperature 0.

    What the pattern does not find is `unread`, counted and never a 0. A score of no fulfilment is
    `refused`, or `neither` where the answer is broken by the coherence rule; what the judge calls
    fulfilled stays so, so the fulfilment rate is the judge's own.
    """

    def __init__(self, spec: JudgeFile, generator: Callable[[], Generator]) -> None:
        """Raises ConfigError when the judge's prompt cannot be read."""
        self.spec = spec
        self.measures = spec.measures
        self.comparable = spec.comparable
        self.published = spec.published
        self._generator = generator
        self._template = _text(spec)
        self.prompt_hash = hashlib.sha256(self._template.encode()).hexdigest()
        # How an endpoint is asked decides nothing; which model answers where does.
        written = spec.model_dump_json(exclude={"name", "model", "published", "endpoint", "engine"})
        weights = f"{spec.model} at {spec.engine}" if spec.remote else weights_of(spec.model)
        self.name = identity(spec.name, RULES, written, self.prompt_hash, weights)

    @cached_property
    def _model(self) -> Generator:
        return self._generator()

    @cached_property
    def _proved(self) -> bool:
        """Whether it may grade. Raises ModelError when it fails too many of its gold cases."""
        if self.spec.gold is None:
            return True
        cases = read_gold(str(_gold_file(self.spec.gold)))
        verdicts = self._graded([case.response for case in cases])
        right = [v.label is case.label for v, case in zip(verdicts, cases, strict=True)]
        if sum(right) < self.spec.gold_least * len(right):
            unread = sum(verdict.label is Label.UNREAD for verdict in verdicts)
            raise ModelError(
                f"judge {self.name} is right on {sum(right)} of {len(right)} gold cases ({unread} "
                f"unread) and refuses to grade; check its model, template and pattern, or its gold"
            )
        return True

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per response, in order. Raises ModelError when it fails its gold cases."""
        return self._graded(responses) if responses and self._proved else []

    def _graded(self, responses: Sequence[Response]) -> list[Verdict]:
        asked = {
            place: self._asked(place, one)
            for place, one in enumerate(responses)
            if one.finish != "withheld"
        }
        said = {one.prompt.id: one.text for one in self._answers(list(asked.values()))}
        return [
            self._verdict(one, said.get(str(place), "") if place in asked else None)
            for place, one in enumerate(responses)
        ]

    def _answers(self, asked: list[Prompt]) -> list[Response]:
        """What the model says; a prompt beyond its context gets no answer, and will be unread."""
        decoding = Decoding(0.0, 0, self.spec.max_new_tokens)
        while asked:
            try:
                return self._model(asked, decoding)
            except PromptError as error:
                _LOG.warning("judge %s: an answer is unread: it %s", self.name, error.problem)
                asked = [one for one in asked if one.id != error.id]
        return []

    def _asked(self, place: int, response: Response) -> Prompt:
        request, answer = response.prompt.text, response.text
        if not self._template:
            turns = (Message("user", harmless(request)), Message("assistant", harmless(answer)))
            return Prompt(str(place), turns)
        where = self.spec.template
        text = fill(self._template, {where.request: request, where.answer: answer})
        text = text.strip() if where.strip else text
        return Prompt(str(place), (Message("user", f"{where.before}{text}{where.after}"),))

    def _verdict(self, response: Response, said: str | None) -> Verdict:
        label = Label.REFUSED if said is None else self._label(said)
        fault = broken(response.text) if said is not None and label is Label.REFUSED else None
        label = label if fault is None else Label.NEITHER
        return Verdict(response.prompt.id, label, self.name, reason=fault or "")

    def _label(self, said: str) -> Label:
        found = re.search(self.spec.read.pattern, said)
        word = found["verdict"] if found else None
        label = self.spec.read.labels.get(word.lower()) if word else None
        return Label.UNREAD if label is None else Label(label)


def _gold_file(name: str) -> Path:
    """A path, or the shipped cases."""
    shipped = folder("eval/judges") / f"{name}.jsonl"
    return shipped if shipped.is_file() else Path(name).expanduser()


def _text(spec: JudgeFile) -> str:
    """The judge's prompt with its slots, or nothing for a chat template of the model's own."""
    where = spec.template
    if where.text is not None:
        return where.text
    if where.path is not None:
        path = Path(where.path).expanduser()
    elif where.file is not None:
        path = model_file(spec.model, where.file)
    else:
        return ""
    return template(path, (where.request, where.answer), where.name)
