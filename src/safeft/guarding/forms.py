"""How a guard model is asked about a text: as turns of its chat template, or in a filled form.

The prompts are read from the model's own repository when the judge is loaded, and never kept here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safeft.errors import ConfigError
from safeft.guarding.schema import Criterion, Form, Format, Kind, PromptedFile, Quote
from safeft.judges.templates import fill, harmless, template
from safeft.models import model_file, resolve
from safeft.records import Message, Prompt
from safeft.runs import hash_files

# What `harmless` leaves: tokens without bars, and the marks between which guard models find their
# text and give their answer. A text that held them could end its own quotation.
_MARKS = re.compile(
    r"<(?=/?(?:bos|eos|pad|unk|think|score|guardian)>|/?(?:BEGIN|END)[ _][A-Z _]+>)"
)


@dataclass(frozen=True)
class Way:
    """One way of asking: of an exchange or of a request, and of which criterion.

    `text` is the form with its slots, empty when the chat template asks; `arguments` is what the
    chat template is told.
    """

    kind: Kind
    criterion: str
    form: Form
    read: Format
    text: str
    arguments: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What its prompts carry as their category, so that an engine finds the arguments."""
        return f"{self.kind}/{self.criterion}"

    def prompt(self, id: str, asked: Prompt, answer: str | None) -> Prompt:
        """What the model is asked about a conversation, and its answer if there is one."""
        own = [Message("system", self.form.system)] if self.form.system else []
        return Prompt(id, (*own, *self._turns(asked, answer)), self.key)

    def _turns(self, asked: Prompt, answer: str | None) -> list[Message]:
        said = turns(asked.messages)
        if not self.text:
            said = said if self.form.turns else [Message("user", plain(_one_text(said)))]
            more = [] if answer is None else [Message("assistant", answer)]
            return [Message(one.role, plain(one.content)) for one in turns([*said, *more])]
        slots = {self.form.request: plain(_one_text(said)), self.form.answer: plain(answer or "")}
        filled = fill(self.text, slots)
        filled = filled.strip() if self.form.strip else filled
        return [Message("user", f"{self.form.before}{filled}{self.form.after}")]


def ways(spec: PromptedFile) -> list[Way]:
    """Every way of asking. Raises ConfigError or ModelError when a prompt cannot be read."""
    found = []
    for kind, (form, read, criteria) in spec.ways().items():
        text = _source(spec, form)
        for name, one in (criteria or {"": Criterion()}).items():
            quotes = {key: quoted(spec.model, quote) for key, quote in one.quotes.items()}
            arguments = form.arguments | one.arguments | quotes
            found.append(Way(kind, name, form, read, text, arguments))
    return found


def prompt_hash(found: Iterable[Way], model: str = "") -> str:
    """A hash of every text and argument, which come from files that may change.

    With a `model` in a folder, of its chat template too, which no revision pins.
    """
    content: list[Any] = [[one.key, one.text, dict(one.arguments)] for one in found]
    if model and (source := resolve(model)).local:
        content.append(hash_files(Path(source.location), "*.j*"))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _source(spec: PromptedFile, form: Form) -> str:
    if form.text is not None:
        return form.text
    slots = (form.request, form.answer)
    if form.path is not None:
        return template(Path(form.path).expanduser(), slots, form.name)
    return template(model_file(spec.model, form.file), slots, form.name) if form.file else ""


def quoted(model: str, quote: Quote) -> str:
    """The one text that a pattern finds in a file of the model's repository.

    Raises ConfigError when it finds none, or several that differ.
    """
    path = model_file(model, quote.file)
    found = [" ".join(one.group().split()) for one in re.finditer(quote.pattern, path.read_text())]
    if len({*found}) != 1:
        raise ConfigError(
            f"{path}: the pattern {quote.pattern!r} finds {len({*found})} texts, and must find "
            "one; give the file of the pinned revision, or mend the pattern"
        )
    return found[0]


def turns(messages: Sequence[Message]) -> list[Message]:
    """User and assistant in turn, as chat templates of guard models demand.

    Whatever is not the assistant's counts as the user's, system turns too: a client can write
    those, and nothing may be left unread. So does an assistant's turn that begins a conversation.
    """
    found: list[Message] = []
    for one in messages:
        role = "assistant" if one.role == "assistant" and found else "user"
        if found and found[-1].role == role:
            found[-1] = Message(role, f"{found[-1].content}\n\n{one.content}")
        else:
            found.append(Message(role, one.content))
    return found


def plain(text: str) -> str:
    """Without what could end a turn, a quotation or an answer: such marks are broken up."""
    return _MARKS.sub("< ", harmless(text))


def _one_text(said: Sequence[Message]) -> str:
    """A request as it is; a longer conversation with who says what."""
    if len(said) == 1:
        return said[0].content
    return "\n\n".join(f"{one.role}: {one.content}" for one in said)
