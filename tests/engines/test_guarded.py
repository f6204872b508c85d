"""Laws of the guarded engine, on the real vLLM: `generate` and `chat` are its own, but withhold."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from guarding.reading import REFUSAL, Reading, checking, having

pytest.importorskip("vllm", reason="make test-engines installs vLLM and runs these")

from vllm import SamplingParams, TokensPrompt

from safeft.evaluation import load_suite
from safeft.generation.vllm import VllmEngine, VllmGenerator
from safeft.guarding import Guarded, guard
from safeft.guarding.in_vllm import GuardedLLM
from safeft.records import Decoding

MODEL = "testbed:aligned"
PROMPTS = load_suite("safeft-44", ["per_category=1"]).prompts["harm"][:8]
CHATS = [[{"role": "user", "content": one.text}] for one in PROMPTS]
GREEDY = SamplingParams(temperature=0, max_tokens=24, logprobs=1)
WHOLE = {"window": 10_000, "first_window": 10_000}


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmEngine]:
    """One engine for all tests of this file: it takes most of a minute to start."""
    made = VllmEngine(MODEL, options={"max_model_len": 1024})
    yield made
    made.close()


@pytest.fixture
def llm(engine: VllmEngine) -> Any:
    """The `vllm.LLM` itself."""
    return engine._llm


def said(found: list[Any]) -> list[str]:
    """The text of every output."""
    return [output.text for one in found for output in one.outputs]


def unsafe(*texts: str) -> Reading:
    """Finds these very answers unsafe."""
    return Reading(lambda text: float(text in texts))


def test_what_is_cleared_is_the_engines_own_output(llm: Any) -> None:
    """Texts, tokens and log-probabilities; signatures and other attributes too."""
    plain = llm.chat(CHATS, GREEDY, use_tqdm=False)
    guarded = GuardedLLM(llm, checking(having()))
    found = guarded.chat(CHATS, GREEDY, use_tqdm=False)
    assert said(found) == said(plain)
    for one, other in zip(found, plain, strict=True):
        assert type(one) is type(other)
        assert one.outputs[0].token_ids == other.outputs[0].token_ids
        assert one.outputs[0].logprobs is not None
    assert inspect.signature(guarded.generate) == inspect.signature(llm.generate)
    assert guarded.llm_engine is llm.llm_engine
    assert any(hasattr(llm, name) for name in GuardedLLM.past)
    assert not any(hasattr(guarded, name) for name in GuardedLLM.past)


def test_nothing_is_left_of_a_withheld_output(llm: Any) -> None:
    """The refusal, `content_filter`, and no token or probability of what was withheld."""
    plain = llm.chat(CHATS, GREEDY, use_tqdm=False)
    held = said(plain)[2]
    judge = unsafe(held)
    found = GuardedLLM(llm, checking(judge, output=WHOLE)).chat(CHATS, GREEDY, use_tqdm=False)
    assert said(found) == [REFUSAL if one == held else one for one in said(plain)]
    (output,) = found[2].outputs
    assert (output.finish_reason, list(output.token_ids)) == ("content_filter", [])
    assert output.logprobs is output.cumulative_logprob is found[2].prompt_logprobs is None
    assert [one.asked for one in judge.seen] == [one.text for one in PROMPTS]


def test_a_blocked_request_is_not_asked(llm: Any) -> None:
    """Its output has the engine's own type, and as many refusals as answers were wanted."""
    ids = llm.get_tokenizer()(PROMPTS[0].text)["input_ids"]
    asked = [TokensPrompt(prompt_token_ids=ids), PROMPTS[1].text]
    params = [SamplingParams(max_tokens=4, n=2), SamplingParams(max_tokens=4)]
    plain = llm.generate(asked, params, use_tqdm=False)
    guarded = GuardedLLM(llm, checking(having(PROMPTS[0].text), input={}))
    found = guarded.generate(asked, params, use_tqdm=False)
    assert [type(one) for one in found] == [type(one) for one in plain]
    assert [len(one.outputs) for one in found] == [2, 1]
    assert {one.text for one in found[0].outputs} == {REFUSAL}
    assert {one.finish_reason for one in found[0].outputs} == {"content_filter"}
    assert found[1].outputs[0].text != REFUSAL


def test_an_answer_is_drawn_again_with_another_seed(llm: Any) -> None:
    """Each of two answers of one prompt, in its place, until it is cleared."""
    reads: list[str] = []

    def score(text: str) -> float:
        reads.append(text)
        return float(len(reads) == 2)  # the second answer's first draw

    params = SamplingParams(temperature=1.0, max_tokens=24, n=2, seed=3)
    plain = llm.chat(CHATS[:1], params, use_tqdm=False)
    made = checking(Reading(score), output=WHOLE | {"action": "regenerate"})
    found = GuardedLLM(llm, made).chat(CHATS[:1], params, use_tqdm=False)
    assert reads[:2] == said(plain)
    assert said(found) == [reads[0], reads[2]]
    assert [output.index for output in found[0].outputs] == [0, 1]


def test_the_engines_generator_is_guarded(engine: VllmEngine) -> None:
    """As any other: the answers that are cleared are the engine's, the others the refusal."""
    decoding = Decoding(0.0, 0, 24)
    plain = [one.text for one in VllmGenerator(engine)(PROMPTS, decoding)]
    made = checking(unsafe(plain[1]), output=WHOLE)
    found = Guarded(VllmGenerator(engine), made)(PROMPTS, decoding)
    assert [one.text for one in found] == [REFUSAL if one == plain[1] else one for one in plain]
    assert {one.finish for one in found if one.text == REFUSAL} == {"withheld"}


def test_guard_knows_the_engine_by_its_class(llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being told what it is."""
    made = checking(having())
    monkeypatch.setattr("safeft.guarding.loading.checker", lambda _: made)
    assert isinstance(guard(llm), GuardedLLM)
