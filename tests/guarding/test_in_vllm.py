"""Laws of the guarded `vllm.LLM`, on an engine of the tests' own that has its methods' shape.

tests/engines/test_guarded.py has the same laws on the real one.
"""

from __future__ import annotations

import inspect
import sys
from copy import copy
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from guarding.reading import REFUSAL, Reading, checking, having, raising
from safeft.errors import ConfigError
from safeft.guarding import guard
from safeft.guarding.checker import Checker
from safeft.guarding.in_vllm import GuardedLLM
from safeft.guarding.releasing import reseeded


@dataclass
class CompletionOutput:
    """As vLLM's."""

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[Any] | None
    routed_experts: Any = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    """As vLLM's."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    prompt_logprobs: list[Any] | None
    outputs: list[CompletionOutput]
    finished: bool


@dataclass
class SamplingParams:
    """As vLLM's."""

    n: int = 1
    temperature: float = 1.0
    seed: int | None = None

    def clone(self) -> SamplingParams:
        return copy(self)


@dataclass
class LLM:
    """Says `script(words, seed)`; keeps each call's prompts, sampling and adapter."""

    script: Any
    tokenizer: Any
    calls: list[tuple[list[Any], list[SamplingParams], Any]] = field(default_factory=list)
    model_config: str = "the engine's own"

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        return SamplingParams()

    def generate(
        self,
        prompts: Any,
        sampling_params: Any = None,
        *,
        use_tqdm: bool = True,
        lora_request: Any = None,
    ) -> list[RequestOutput]:
        many = [prompts] if isinstance(prompts, str | dict) else list(prompts)
        params = sampling_params or SamplingParams()
        each = list(params) if isinstance(params, list) else [params] * len(many)
        self.calls.append((many, each, lora_request))
        return [self._one(str(one), params) for one, params in zip(many, each, strict=True)]

    def chat(self, messages: Any, sampling_params: Any = None, use_tqdm: bool = True) -> Any:
        many = [messages] if isinstance(messages[0], dict) else messages
        return self.generate([one[-1]["content"] for one in many], sampling_params)

    def beam_search(self, prompts: Any) -> Any:
        raise AssertionError("never asked")

    def _one(self, prompt: str, params: SamplingParams) -> RequestOutput:
        said = [self.script(prompt, (params.seed or 0) + index) for index in range(params.n)]
        outputs = [
            CompletionOutput(index, text, [5, 6, 7], -1.0, [{}], "experts", "length")
            for index, text in enumerate(said)
        ]
        return RequestOutput("1", prompt, [1, 2], [{}], outputs, True)


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a blocked request is answered with comes from vLLM's module."""
    module = ModuleType("vllm.outputs")
    module.CompletionOutput, module.RequestOutput = CompletionOutput, RequestOutput
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.outputs", module)


@pytest.fixture
def llm(tiny_tokenizer: Any) -> LLM:
    """It repeats what it is asked."""
    return LLM(lambda prompt, seed: f"answer to {prompt}", tiny_tokenizer)


def texts(found: list[RequestOutput]) -> list[str]:
    return [output.text for one in found for output in one.outputs]


def test_what_is_cleared_is_the_engines_own_output(llm: LLM) -> None:
    """With all of its fields, in order; a single prompt is a list of one."""
    guarded = GuardedLLM(llm, checking(having()))
    assert guarded.generate(["a", "b"], SamplingParams(n=2)) == llm.generate(
        ["a", "b"], SamplingParams(n=2)
    )
    assert guarded.generate("a") == llm.generate("a")


def test_nothing_is_left_of_a_withheld_output(llm: LLM) -> None:
    """Its tokens and probabilities, and those of the prompt; the others stay as they are."""
    plain = llm.generate(["good", "bad"])
    found = GuardedLLM(llm, checking(having("bad"))).generate(["good", "bad"])
    assert found[0] == plain[0]
    assert found[1].prompt_logprobs is None
    assert found[1].outputs == [
        CompletionOutput(0, REFUSAL, [], None, None, None, "content_filter", None)
    ]
    assert found[1].prompt_token_ids == plain[1].prompt_token_ids


@pytest.mark.parametrize(
    ("action", "text", "finish"),
    [("replace", REFUSAL, "length"), ("redact", "[removed]", "length"), ("log", None, "length")],
)
def test_each_action_does_what_it_says(
    llm: LLM, action: str, text: str | None, finish: str
) -> None:
    """What is changed loses its tokens; how it ended stays."""
    found = GuardedLLM(llm, checking(having("bad"), output={"action": action})).generate("bad")
    (output,) = found[0].outputs
    assert (output.text, output.finish_reason) == (text or "answer to bad", finish)
    assert (output.token_ids == []) is (text is not None)


def test_each_output_is_judged_by_itself(llm: LLM) -> None:
    """Also several of one prompt."""
    llm.script = lambda prompt, seed: f"{prompt} {seed}"
    found = GuardedLLM(llm, checking(having("b 1"))).generate(["a", "b"], SamplingParams(n=3))
    assert texts(found) == ["a 0", "a 1", "a 2", "b 0", REFUSAL, "b 2"]
    assert [output.index for output in found[1].outputs] == [0, 1, 2]


def test_a_blocked_request_is_not_asked(llm: LLM) -> None:
    """Its place is taken by an output of as many refusals as were wanted; lists stay in step."""
    params = [SamplingParams(n=1), SamplingParams(n=2), SamplingParams(seed=9)]
    guarded = GuardedLLM(llm, checking(having("bad"), input={}))
    found = guarded.generate(["a", "bad", "c"], params, lora_request=["x", "y", "z"])
    assert llm.calls == [(["a", "c"], [params[0], params[2]], ["x", "z"])]
    assert texts(found) == ["answer to a", REFUSAL, REFUSAL, "answer to c"]
    assert {one.finish_reason for one in found[1].outputs} == {"content_filter"}
    assert found[1].finished and found[1].prompt == "bad"
    assert texts(guarded.generate("bad")) == [REFUSAL]
    assert len(llm.calls) == 1


def test_an_answer_is_drawn_again_with_another_seed(llm: LLM) -> None:
    """One for each that needs it, in its place; where a seed was set, by the documented rule."""
    good = reseeded(4 + 1, 1)
    llm.script = lambda prompt, seed: f"{prompt} {'good' if seed == good else seed}"
    params = SamplingParams(n=2, seed=4)
    judge = Reading(lambda text: float(text == "a 5"))
    made = checking(judge, output={"action": "regenerate"})
    found = GuardedLLM(llm, made).generate(["a"], params)
    assert texts(found) == ["a 4", "a good"]
    assert [output.index for output in found[0].outputs] == [0, 1]
    assert llm.calls[1][1] == [SamplingParams(1, 1.0, good)]
    assert params == SamplingParams(n=2, seed=4)


@pytest.mark.parametrize(("temperature", "calls"), [(1.0, 3), (0.0, 1)])
def test_an_answer_that_is_never_cleared_is_withheld(
    llm: LLM, temperature: float, calls: int
) -> None:
    """At once where sampling would draw the same again."""
    made = checking(having("answer"), output={"action": "regenerate", "regenerate": 2})
    found = GuardedLLM(llm, made).generate(["a"], SamplingParams(temperature=temperature))
    assert texts(found) == [REFUSAL]
    assert len(llm.calls) == calls


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None},
    {"role": "user", "content": [{"type": "text", "text": "How"}, {"type": "text", "text": "so?"}]},
]


def test_a_conversation_is_read_turn_by_turn(llm: LLM) -> None:
    """One, or several; text in parts is text."""
    judge = having("so?")
    guarded = GuardedLLM(llm, checking(judge, input={}, turns=9))
    found = guarded.chat([CHAT, CHAT[:2]], SamplingParams())
    assert texts(found) == [REFUSAL, "answer to Hi"]
    assert [(one.role, one.content) for one in judge.seen[0].messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", ""),
        ("user", "How\nso?"),
    ]
    assert texts(guarded.chat(CHAT)) == [REFUSAL]
    assert texts(guarded.chat(CHAT[:2], use_tqdm=False)) == ["answer to Hi"]


def test_prompts_are_read_as_the_engine_reads_them(llm: LLM, tiny_tokenizer: Any) -> None:
    """Token ids before text, and neither with special tokens."""
    ids = tiny_tokenizer("water a plant")["input_ids"]
    judge = having()
    guarded = GuardedLLM(llm, checking(judge, input={}, output=None))
    chat = "<|im_start|>user\nwater<|im_end|>"
    for prompt in (
        "water",
        chat,
        {"prompt": "water"},
        {"prompt_token_ids": ids, "prompt": "another"},
    ):
        guarded.generate(prompt)
    guarded.generate([ids, "water"])
    assert judge.read == [
        ["water"],
        ["user\nwater"],
        ["water"],
        ["water a plant"],
        ["water a plant", "water"],
    ]
    with pytest.raises(ConfigError, match="reads prompts as text or token ids"):
        guarded.generate({"prompt_embeds": object()})


def test_an_answer_without_text_is_read_from_its_tokens(llm: LLM, tiny_tokenizer: Any) -> None:
    """As engines give it that are not asked to write it out."""
    llm.script = lambda prompt, seed: ""
    judge = having()
    GuardedLLM(llm, checking(judge)).generate("a")
    assert judge.read == [[tiny_tokenizer.decode([5, 6, 7])]]


@pytest.mark.parametrize("name", GuardedLLM.past)
def test_there_is_no_way_past_the_guard(llm: LLM, name: str) -> None:
    """What else the engine generates by is not passed on."""
    with pytest.raises(AttributeError, match="would get past the guard; use generate or chat"):
        getattr(GuardedLLM(llm, checking(having())), name)


def test_all_else_is_the_engines_own(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes and signatures; `guard` knows the engine by its class."""
    guarded = GuardedLLM(llm, checking(having()))
    assert guarded.model_config == "the engine's own"
    assert inspect.signature(guarded.generate) == inspect.signature(llm.generate)
    assert inspect.signature(guarded.chat) == inspect.signature(llm.chat)
    made: Checker = checking(Reading(raising))
    monkeypatch.setattr("safeft.guarding.loading.checker", lambda _: made)
    monkeypatch.setattr(LLM, "__module__", "vllm.entrypoints.llm")
    assert texts(guard(llm).generate("a")) == [REFUSAL]


def test_every_decision_is_told_to_who_watches(llm: LLM) -> None:
    """Requests and answers."""
    told: list[tuple[str, str]] = []
    made = checking(having("bad"), input={})
    GuardedLLM(llm, made, lambda one, _: told.append((one.stage, one.outcome))).generate(
        ["a", "bad"]
    )
    assert told == [("input", "allow"), ("input", "block"), ("output", "allow")]
