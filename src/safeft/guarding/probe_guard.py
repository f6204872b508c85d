"""A probe as a guard's judge: by what it read while the model wrote, or else by reading itself."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from safeft.errors import ConfigError
from safeft.generation.transformers import context_of, prompt_ids, raw_ids
from safeft.guarding.decision import OVERALL
from safeft.guarding.probe import Probe, probability
from safeft.guarding.probe_ride import Tokens, riding, token_logits
from safeft.guarding.probe_rows import Live, Row
from safeft.guarding.schema import Kind
from safeft.guarding.states import Request
from safeft.judges.identity import identity
from safeft.models import load_model, load_tokenizer
from safeft.models.files import weights_of
from safeft.records import Label, Message, Prompt, Response, Verdict

_LOG = logging.getLogger("safeft")
_HERE = Path(__file__).parent
RULES = ("probe", "probe_guard", "probe_ride", "probe_rows")
SURE = 0.5
RIDES, NOTED = 32, 4096
"""Of so many calls of `generate`, and so many requests with whole answers, the scores are kept."""


class ProbeGuard:
    """P(a harmful request is being answered) by the states of the model that answers.

    The model is the one that is served, where it is in this process, and else the card's own, which
    then reads what another wrote. Of a text that the model has just written, and of a window of a
    whole answer, the states are those at its place in the answer. A text that is no part of an
    answer known here is read as if the answer began with it. A text that the model cannot read,
    for its length or since its states are no numbers, is unread.
    """

    measures = "harmful content"
    categories = (OVERALL,)
    reads: frozenset[Kind] = frozenset({"exchange"})

    def __init__(self, path: Path) -> None:
        """`path` is the probe's card. Raises ConfigError or StoredError as `Probe.load` does."""
        self.probe = Probe.load(path)
        card = self.probe.card
        content = card.sha256, f"{card.layer} {card.smoothing} {card.start}", card.revision
        self.name = identity(card.name, RULES, *content, folder=_HERE)
        self.trained_on = card.rows
        self._served: tuple[Any, Any] | None = None
        self._alone = RLock()
        self._lives: deque[Live] = deque(maxlen=RIDES)
        self._noted: dict[str, dict[tuple[tuple[Message, ...], str], Row]] = {}

    def attach(self, model: Any, tokenizer: Any) -> None:
        """From now on it is this model whose states are read. Raises ConfigError if unfit."""
        self.probe.fits(model)
        with self._alone:
            if self._served is None or self._served[0] is not model:
                self._lives.clear()
                self._noted.clear()
            self._served = model, tokenizer

    def note(self, responses: Sequence[Response]) -> None:
        """Whole answers, of which windows will be asked about; they are read when they are."""
        with self._alone:
            for one in responses:
                answers = self._noted.setdefault(one.prompt.asked, {})
                key = one.prompt.messages, one.text
                answers.setdefault(key, Row(one.prompt.messages, self._ids(one.prompt), one.text))
            while len(self._noted) > NOTED:
                del self._noted[next(iter(self._noted))]

    @contextmanager
    def riding(self, requests: Sequence[Request]) -> Iterator[None]:
        """Reads along while the model answers these in this thread."""
        model, tokenizer = self._model()
        with riding(model, self.probe) as ride:
            live = Live(ride, requests, tokenizer)
            self._lives.append(live)
            try:
                yield
            finally:
                ride.taken()  # numbers alone are kept, and nothing where the model lies

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per text that wants to leave, in order.

        Raises PromptError when the model's chat template refuses a request, ModelError when the
        card's model is needed and cannot be loaded.
        """
        with self._alone:
            scores = self._scores(responses)
        return [self._verdict(r.prompt, one) for r, one in zip(responses, scores, strict=True)]

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """Raises ConfigError: it was trained on answers."""
        raise ConfigError(f"judge {self.name} reads answers only; name another for `input`")

    def _verdict(self, prompt: Prompt, score: float) -> Verdict:
        if not np.isfinite(score):  # NaN is never above a threshold
            return Verdict(prompt.id, Label.UNREAD, self.name)
        label = Label.FULFILLED if score >= SURE else Label.NEITHER
        return Verdict(prompt.id, label, self.name, {OVERALL: score})

    def _scores(self, responses: Sequence[Response]) -> list[float]:
        """Of each text, by what is known of it, or by reading it alone. A blank one is safe."""
        said = [place for place, one in enumerate(responses) if one.text.strip()]
        missing = [responses[place] for place in said if self._known(responses[place]) is None]
        self._read({id(row): row for one in missing for row in self._unread(one)}.values())
        known = {place: self._known(responses[place]) for place in said}
        others = {place: self._row(responses[place]) for place in said if known[place] is None}
        self._read(others.values())
        for place, row in others.items():
            found = row.logit(responses[place].text, self.probe)
            known[place] = row.worst(self.probe) if found is None else found
        logits = [known.get(place) for place in range(len(responses))]
        return [0.0 if one is None else probability(one) for one in logits]

    def _known(self, response: Response) -> float | None:
        """The logit of a text that stands in an answer that was read, the largest of several."""
        rows = chain(
            (row for live in tuple(self._lives) for row in live.rows()),
            self._noted.get(response.prompt.asked, {}).values(),
        )
        found = [
            logit
            for row in rows
            if row.answers(response.prompt)
            and (logit := row.logit(response.text, self.probe)) is not None
        ]
        return float(np.max(found)) if found else None

    def _unread(self, response: Response) -> Iterator[Row]:
        """The noted answers that hold a text, and that nobody has read yet."""
        for row in self._noted.get(response.prompt.asked, {}).values():
            if row.unread and response.text in row.text and row.answers(response.prompt):
                yield row

    def _row(self, response: Response) -> Row:
        """A text to be read: at the end of the answer that is being written, or by itself.

        While an answer is written, its last token has no state yet.
        """
        prompt = response.prompt
        written = (row for live in tuple(self._lives)[::-1] for row in live.rows())
        wholes = (row.up_to(response.text) for row in written if row.answers(prompt))
        text = next(filter(None, wholes), response.text)
        return Row(prompt.messages, self._ids(prompt), text)

    def _ids(self, prompt: Prompt) -> list[int] | None:
        """The token ids by which the model was asked this lately."""
        rows = (row for live in tuple(self._lives) for row in live.rows())
        return next((row.ids for row in rows if row.answers(prompt)), None)

    def _read(self, rows: Iterable[Row]) -> None:
        """Has the model read these answers; of one that leaves its context nothing is known."""
        wanted = list(rows)
        if not wanted:
            return
        model, tokenizer = self._model()
        texts = [self._tokens(tokenizer, row) for row in wanted]
        most = context_of(model.config.get_text_config(decoder=True))
        fitting = [
            (row, (asked, said))
            for row, (asked, said) in zip(wanted, texts, strict=True)
            if said and (most is None or len(asked) + len(said) <= most)
        ]
        found = token_logits(model, self.probe, [one for _, one in fitting])
        for row in wanted:
            row.unread = False
        for (row, (_, said)), logits in zip(fitting, found, strict=True):
            row.add(tokenizer, said, logits)

    def _tokens(self, tokenizer: Any, row: Row) -> Tokens:
        asked = row.ids
        if asked is None:
            asked = request_ids(tokenizer, Prompt("", row.messages), self.probe.card.model)
        return asked, text_ids(tokenizer, row.text)

    def _model(self) -> tuple[Any, Any]:
        """The served model and its tokenizer; the card's own where none is served here."""
        with self._alone:
            if self._served is None:
                card = self.probe.card
                if weights_of(card.model) != card.revision:
                    _LOG.warning(
                        "judge %s: %s has other weights than the probe was trained on",
                        self.name,
                        card.model,
                    )
                self.attach(load_model(card.model), load_tokenizer(card.model, chat=False))
            assert self._served is not None
            return self._served


def request_ids(tokenizer: Any, prompt: Prompt, model: str) -> list[int]:
    """A request as a model is asked it: by its chat template, or as it is where there is none.

    Raises PromptError when the template refuses it.
    """
    if tokenizer.chat_template is None:
        return raw_ids(tokenizer, prompt)
    return prompt_ids(tokenizer, prompt, model)


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """A text as it would have been written: one that spells a control token is read as letters."""
    plainly = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    ids: list[int] = tokenizer(text, **plainly)["input_ids"]
    return ids
