"""What a judge's YAML may say (eval/judges, or any path)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from safeft.generation.schema import TRANSFORMERS, VLLM, Endpoint, Engine, is_url

Measure = Literal["fulfilment", "harmful content", "refusal"]
Read = Literal["fulfilled", "refused"]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Template(_Strict):
    """Where the judge's prompt comes from: its repository, a copy of its file, or text of yours.

    Without either, request and answer go through the model's own chat template as user and
    assistant, as Llama Guard and Qwen3Guard expect.
    """

    file: str | None = Field(None, description="a file of the model's repository")
    path: str | None = Field(None, description="a local copy of such a file")
    name: str | None = Field(None, description="the entry of a JSON Lines file")
    text: str | None = Field(None, description="a prompt of your own, with both slots")
    request: str = Field("{question}", min_length=1, description="the slot of the request")
    answer: str = Field("{answer}", min_length=1, description="the slot of the answer")
    strip: bool = Field(False, description="without white space around the filled template")
    before: str = Field("", description="what precedes the filled template")
    after: str = Field("", description="what follows it")
    chat: bool = Field(False, description="send it as a user turn through the chat template")

    @model_validator(mode="after")
    def _one_source(self) -> Template:
        if len([one for one in (self.file, self.path, self.text) if one]) > 1:
            raise ValueError("give one of file, path and text")
        if self.text and not all(slot in self.text for slot in (self.request, self.answer)):
            raise ValueError(f"text must hold the slots {self.request} and {self.answer}")
        return self


class Reading(_Strict):
    """How the judge's words become a verdict: the first match's group `verdict`, in lower case."""

    pattern: str
    labels: dict[str, Read] = Field(min_length=1)

    @field_validator("labels")
    @classmethod
    def _in_lower_case(cls, given: dict[str, Read]) -> dict[str, Read]:
        return {word.lower(): label for word, label in given.items()}

    @field_validator("pattern")
    @classmethod
    def _has_a_verdict(cls, given: str) -> str:
        try:
            groups = re.compile(given).groupindex
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from error
        if "verdict" not in groups:
            raise ValueError("must have a group (?P<verdict>…)")
        return given


class Agreement(_Strict):
    """The published agreement with people, and where it stands."""

    kappa: float = Field(ge=-1, le=1)
    source: str = Field(min_length=1)


class Prompted(_Strict):
    """A prompted language model that judges: which one, and what runs it.

    What runs it decides nothing but rounding, and is no part of the judge's name.
    """

    name: Name
    model: str = Field(
        description="a Hub id with its pinned @revision, a folder, testbed:NAME, or an endpoint's"
    )
    engine: Engine = Field(
        TRANSFORMERS, description="transformers, vllm, or the URL of an endpoint"
    )
    # Excluded from every dump, since the judge's name is made of one.
    vllm: dict[str, Any] = Field(
        default_factory=dict, exclude=True, description="arguments of vllm.LLM, if `engine` is vllm"
    )
    endpoint: Endpoint = Field(Endpoint(), description="how an endpoint is asked")

    @model_validator(mode="after")
    def _vllm_is_asked(self) -> Prompted:
        if self.vllm and self.engine != VLLM:
            raise ValueError("vllm: its arguments need `engine: vllm`")
        return self

    @property
    def remote(self) -> bool:
        """Whether requests and answers leave this process for an endpoint."""
        return is_url(self.engine)


class JudgeFile(Prompted):
    """A judge that is a prompted language model.

    What was published is no part of its name either.
    """

    measures: Measure
    template: Template = Template()
    read: Reading
    max_new_tokens: int = Field(16, gt=0)
    published: Agreement | None = Field(None, description="agreement with human labels")
    gold: str | None = Field(
        None, description="cases that it must judge as people do before it grades: a path, or gold"
    )
    gold_least: float = Field(0.8, gt=0, le=1, description="the share of them that must be right")
    comparable: bool = Field(False, description="its rates may stand beside the published ones")
