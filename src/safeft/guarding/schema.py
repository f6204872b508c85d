"""What a guard judge's YAML may say (guardrails/judges, or any path)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from safeft.generation.schema import Endpoint
from safeft.guarding.decision import OVERALL
from safeft.judges.schema import Name, Prompted, Template

Says = Literal["safe", "unsafe"]
Kind = Literal["exchange", "request"]
Category = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _expression(given: str) -> str:
    try:
        re.compile(given)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from error
    return given


Expression = Annotated[str, AfterValidator(_expression)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Soon(Endpoint):
    """An endpoint that somebody waits for: the stage's own timeout would end a longer patience."""

    timeout: float = Field(10.0, gt=0, description="seconds for one answer")
    retries: int = Field(1, ge=0, description="after 408, 409, 429, 5xx, timeouts, cut connections")


class Form(Template):
    """How the model is asked: by its own chat template, or by a text with slots as a judge's is."""

    system: str | None = Field(None, description="a turn before the others, such as your policy")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="more that the chat template is told"
    )
    parts: bool = Field(False, description="the chat template wants each turn as a list of parts")
    turns: bool = Field(
        True, description="the chat template takes conversations; false: one user turn holds them"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Form:
        """In place of the judges' rule: a request alone has no answer to put into a slot."""
        if len([one for one in (self.file, self.path, self.text) if one]) > 1:
            raise ValueError("give one of file, path and text")
        if self.text and self.request not in self.text:
            raise ValueError(f"text must hold the slot {self.request}")
        return self

    @property
    def raw(self) -> bool:
        """Whether the filled text is the model's whole input, without its chat template."""
        return bool(self.file or self.path or self.text) and not self.chat


class Format(_Strict):
    """How the model's words become a verdict.

    The pattern's group `verdict` is looked up in `labels`, the words of its group `categories` in
    `categories`; a word that is not there counts as `unsafe` alone. Several matches must agree.
    """

    pattern: Expression
    labels: dict[str, Says] = Field(description="word: safe or unsafe; case does not matter")
    categories: dict[str, Category] = Field(
        default_factory=dict, description="the model's word for a category: our name of it"
    )
    cut: bool = Field(False, description="also read an answer that the token limit cut off")

    @model_validator(mode="after")
    def _fits(self) -> Format:
        groups = re.compile(self.pattern).groupindex
        if "verdict" not in groups:
            raise ValueError("pattern: must have a group (?P<verdict>…)")
        if bool(self.categories) != ("categories" in groups):
            raise ValueError("`categories` and a group (?P<categories>…) belong together")
        if {*self.labels.values()} != {"safe", "unsafe"}:
            raise ValueError("labels: name at least one word for safe and one for unsafe")
        if len({word.lower() for word in self.labels}) < len(self.labels):
            raise ValueError("labels: words that differ by case alone are the same word")
        return self

    @property
    def words(self) -> dict[str, Says]:
        """The labels by their words in lower case."""
        return {word.lower(): label for word, label in self.labels.items()}


class Quote(_Strict):
    """A text of the model's repository: the one that a pattern finds in a file."""

    file: str
    pattern: Expression


class Criterion(_Strict):
    """A question of its own about a text: what the chat template is told to ask it."""

    arguments: dict[str, Any] = Field(default_factory=dict, description="as they are")
    quotes: dict[str, Quote] = Field(
        default_factory=dict, description="texts of the model's repository"
    )


class Request(_Strict):
    """What is different when there is no answer yet; what is left out is as for an exchange."""

    template: Form | None = None
    read: Format | None = None
    criteria: dict[Category, Criterion] | None = None


class PromptedFile(Prompted):
    """A guard judge that is a prompted language model."""

    kind: Literal["prompted"] = "prompted"
    endpoint: Soon = Field(Soon(), description="how an endpoint is asked")
    template: Form = Field(Form(), description="how a request and its answer are asked about")
    read: Format
    criteria: dict[Category, Criterion] = Field(
        default_factory=dict, description="categories that are asked about one by one"
    )
    request: Request | None = Field(
        Request(), description="how a request alone is asked about; null: it is not"
    )
    score: Literal["probability", "words"] = Field(
        "probability",
        description="P(unsafe) of the verdict's first token, or 1 and 0 as the words say",
    )
    max_new_tokens: int = Field(64, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> PromptedFile:
        if self.criteria and self.read.categories:
            raise ValueError("criteria, or read.categories: both would name the categories")
        other = self.request
        if other is None:
            return self
        if other.template and (other.template.raw, other.template.parts) != (
            self.template.raw,
            self.template.parts,
        ):
            raise ValueError("request.template: `chat` and `parts` must be as in template")
        if other.criteria is not None and {*other.criteria} != {*self.criteria}:
            raise ValueError("request.criteria: must be about the same categories as criteria")
        return self

    @property
    def categories(self) -> tuple[str, ...]:
        """The scores of its verdicts: the criteria, or `unsafe` and each category it can name."""
        if self.criteria:
            return tuple(self.criteria)
        formats = [self.read, *([self.request.read] if self.request and self.request.read else [])]
        named = [name for one in formats for name in one.categories.values()]
        return tuple(dict.fromkeys([OVERALL, *named]))

    def ways(self) -> dict[Kind, tuple[Form, Format, dict[str, Criterion]]]:
        """How each kind of text is asked about, and how the answer is read."""
        found: dict[Kind, tuple[Form, Format, dict[str, Criterion]]] = {
            "exchange": (self.template, self.read, self.criteria)
        }
        if (own := self.request) is not None:
            criteria = self.criteria if own.criteria is None else own.criteria
            found["request"] = (own.template or self.template, own.read or self.read, criteria)
        return found


class ClassifierFile(_Strict):
    """A guard judge that is a text classifier of Transformers."""

    name: Name
    kind: Literal["classifier"]
    model: str = Field(description="a Hub id with its pinned @revision, or a folder")
    exchange: Literal["pair", "answer"] | None = Field(
        "answer", description="reads request and answer, or the answer alone; null: requests only"
    )
    request: bool = Field(True, description="reads a request before there is an answer")
    labels: dict[str, Category] = Field(
        default_factory=dict,
        description="the model's label: our name of it; those left out do not count. None: all do",
    )
    activation: Literal["sigmoid", "softmax"] | None = Field(
        None, description="what makes logits scores; null: as the model's config says"
    )
    window: int = Field(512, ge=32, description="tokens read at once, if the model takes as many")
    overlap: int = Field(64, ge=0, description="tokens that two windows of a long text share")

    @model_validator(mode="after")
    def _fits(self) -> ClassifierFile:
        if self.exchange is None and not self.request:
            raise ValueError("exchange: null and request: false leave nothing to read")
        if 4 * self.overlap > self.window:
            raise ValueError("overlap: must be at most a quarter of window")
        return self
