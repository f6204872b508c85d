"""What a request to the local server may say: the fields that are honoured; all others are ignored.

What would change the meaning of an answer (`echo`, `suffix`, several choices) is refused by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from safeft.records import Message
from safeft.serve.generating import Wanted
from safeft.serve.problems import Problem, invalid


def _text(content: object) -> object:
    """The words of a message, which some clients send in parts."""
    if not isinstance(content, list):
        return "" if content is None else content
    parts = [one.get("text") if isinstance(one, dict) else None for one in content]
    if not all(isinstance(one, str) for one in parts):
        raise ValueError("only parts of type text can be read")
    return "".join(str(one) for one in parts)


def _only(prompt: object) -> object:
    """The one prompt of a list of one."""
    if not isinstance(prompt, list):
        return prompt
    if len(prompt) != 1 or not isinstance(prompt[0], str):
        raise ValueError("one text at a time can be gone on with; token ids are not read")
    return prompt[0]


class _Turn(BaseModel):
    role: str
    content: Annotated[str, BeforeValidator(_text)] = ""


class _StreamOptions(BaseModel):
    include_usage: bool = False


class Asked(BaseModel, ABC):
    """What both kinds of requests may say; `asks` names the field with what is asked."""

    asks: ClassVar[str] = ""

    model: str | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1, le=1)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    @abstractmethod
    def wanted(self) -> Wanted:
        """What the model is to write."""

    def _written(self, asked: tuple[Message, ...], most: int | None, text: str | None) -> Wanted:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Wanted(asked, self.temperature, self.top_p, most, self.seed, tuple(stop), text)


class AskedChat(Asked):
    """A conversation."""

    asks: ClassVar[str] = "messages"

    messages: list[_Turn] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)

    @property
    def wanted(self) -> Wanted:
        """The next turn."""
        turns = tuple(Message(one.role, one.content) for one in self.messages)
        return self._written(turns, self.max_completion_tokens or self.max_tokens, None)


class AskedText(Asked):
    """A text to go on with, as it is."""

    asks: ClassVar[str] = "prompt"

    prompt: Annotated[str, BeforeValidator(_only)]
    max_tokens: int | None = Field(16, ge=1)  # the API's own default on this route
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    best_of: int | None = Field(None, ge=1, le=1)

    @property
    def wanted(self) -> Wanted:
        """What follows; the guard reads the text as one request, without the space around it."""
        return self._written((Message("user", self.prompt.strip()),), self.max_tokens, self.prompt)


Kind = TypeVar("Kind", bound=Asked)


def read_asked(kind: type[Kind], body: bytes, name: str) -> Kind:
    """The request in a body. Raises Problem when it is none, or is for another model."""
    try:
        asked = kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(one) for one in first["loc"])
        said = f"{field}: {first['msg']}" if field else first["msg"]
        raise invalid(said, field or None, "invalid_value") from error
    if asked.model not in (None, name):
        said = f"no model {asked.model!r} here; this server has {name!r}"
        raise Problem(404, "model_not_found", said, param="model")
    return asked
