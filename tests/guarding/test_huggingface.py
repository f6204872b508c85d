"""Laws of the guarded Transformers model: `generate` is the model's own, but what it withholds."""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, TextIteratorStreamer, pipeline

from guarding.reading import REFUSAL, Reading, checking, having, raising
from guarding.test_detokenizing import Kept
from safeft.errors import ConfigError, ModelError
from safeft.guarding import guard
from safeft.guarding.checker import Checker
from safeft.guarding.huggingface import GuardedModel

ASKED = ["how does one grow", "water a plant in the garden with the", "the and"]
NEW = {"max_new_tokens": 12, "do_sample": False}
Guarding = Callable[[Checker], GuardedModel]


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Any]) -> Any:
    """A random model; its answers are no words, but always the same."""
    return tiny_llama().eval()


@pytest.fixture
def guarding(model: Any, tiny_tokenizer: Any) -> Guarding:
    """The model behind a checker."""
    return lambda checker: GuardedModel(model, checker, tiny_tokenizer)


@pytest.fixture(scope="module")
def batch(tiny_tokenizer: Any) -> Any:
    """Prompts of several lengths, padded on the left."""
    return tiny_tokenizer(ASKED, padding=True, padding_side="left", return_tensors="pt")


def answers(tokenizer: Any, out: Any, start: int) -> list[str]:
    """What each row says after the prompt."""
    return tokenizer.batch_decode(out[:, start:], skip_special_tokens=True)


def unsafe(*texts: str) -> Reading:
    """Finds these very answers unsafe."""
    return Reading(lambda text: float(text in texts))


WHOLE = {"window": 10_000, "first_window": 10_000}
KINDS = [
    NEW,
    NEW | {"num_return_sequences": 2, "num_beams": 3},
    {"max_new_tokens": 9, "do_sample": True, "num_return_sequences": 3},
    NEW | {"return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True},
]


@pytest.mark.parametrize("options", KINDS)
def test_what_is_cleared_is_the_models_own_output(
    model: Any, batch: Any, guarding: Guarding, options: dict[str, Any]
) -> None:
    """To the bit, of the same type, with everything that was asked for beside it."""
    torch.manual_seed(0)
    plain = model.generate(**batch, **options)
    torch.manual_seed(0)
    found = guarding(checking(having())).generate(**batch, **options)
    assert type(found) is type(plain)
    if isinstance(plain, torch.Tensor):
        assert torch.equal(found, plain)
    else:
        assert torch.equal(found.sequences, plain.sequences)
        assert len(found.scores) == len(plain.scores)


def test_a_withheld_row_carries_the_refusal(
    model: Any, batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """After its prompt, ended and padded; the rows beside it are as they were."""
    plain = model.generate(**batch, **NEW)
    start = batch["input_ids"].shape[1]
    said = answers(tiny_tokenizer, plain, start)
    found = guarding(checking(unsafe(said[1]), output=WHOLE)).generate(**batch, **NEW)
    assert torch.equal(found[:, :start], batch["input_ids"])
    refusal = [*tiny_tokenizer(REFUSAL)["input_ids"], tiny_tokenizer.eos_token_id]
    width = found.shape[1] - start
    pad = tiny_tokenizer.pad_token_id
    assert found[1, start:].tolist() == refusal + [pad] * (width - len(refusal))
    for row in (0, 2):
        kept = plain[row, start:].tolist()
        assert found[row, start:].tolist() == kept + [pad] * (width - len(kept))
    assert answers(tiny_tokenizer, found, start) == [said[0], REFUSAL, said[2]]


def test_each_row_of_a_prompt_is_judged_by_itself(
    model: Any, batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """With several answers to each prompt, and the prompt that they answer."""
    options = NEW | {"num_return_sequences": 2, "num_beams": 2}
    start = batch["input_ids"].shape[1]
    said = answers(tiny_tokenizer, model.generate(**batch, **options), start)
    judge = unsafe(said[3])
    found = guarding(checking(judge, output=WHOLE)).generate(**batch, **options)
    expected = [REFUSAL if one == said[3] else one for one in said]
    assert answers(tiny_tokenizer, found, start) == expected
    assert [one.text for one in judge.seen] == [one for one in ASKED for _ in range(2)]


def test_nothing_else_tells_of_a_withheld_row(
    batch: Any, guarding: Guarding, model: Any, tiny_tokenizer: Any
) -> None:
    """Scores, hidden states and the cache are of the withheld tokens too: they are dropped."""
    options = NEW | {
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "output_hidden_states": True,
        "output_attentions": True,
    }
    plain = model.generate(**batch, **options)
    judge = unsafe(answers(tiny_tokenizer, plain.sequences, batch["input_ids"].shape[1])[0])
    found = guarding(checking(judge, output=WHOLE)).generate(**batch, **options)
    assert type(found) is type(plain)
    assert set(found.keys()) == {"sequences"}


def test_the_request_is_read_without_padding_and_special_tokens(
    batch: Any, guarding: Guarding
) -> None:
    """As text, whether there is a mask or only the padding token."""
    for given in (batch, {"input_ids": batch["input_ids"]}):
        judge = having()
        guarding(checking(judge, input={}, output=None)).generate(**given, **NEW)
        assert judge.read == [ASKED]


def test_a_blocked_request_is_answered_with_the_refusal(
    batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """In its row of the batch; its answer is not even read."""
    judge = having("garden")
    found = guarding(checking(judge, input={})).generate(**batch, **NEW)
    said = answers(tiny_tokenizer, found, batch["input_ids"].shape[1])
    assert [one == REFUSAL for one in said] == [False, True, False]
    assert all("garden" not in one.text for one in judge.seen[len(ASKED) :])


@pytest.mark.parametrize("options", [NEW, KINDS[3], KINDS[1]])
def test_a_batch_of_blocked_requests_costs_one_token(
    model: Any, batch: Any, guarding: Guarding, options: dict[str, Any]
) -> None:
    """The type is the model's own; the model reads the prompts once and is not asked again."""
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        found = guarding(checking(having(*ASKED), input={})).generate(**batch, **options)
    finally:
        handle.remove()
    plain = model.generate(**batch, **options)
    assert type(found) is type(plain)
    assert len(calls) == 1
    assert len(getattr(found, "sequences", found)) == len(getattr(plain, "sequences", plain))


def test_redacted_windows_are_redacted(
    model: Any, batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """The row says the rest of its answer, and the policy's words in the window's place."""
    start = batch["input_ids"].shape[1]
    said = answers(tiny_tokenizer, model.generate(**batch, **NEW), start)
    judge = Reading(lambda text: float(text == said[0]))
    made = checking(judge, output=WHOLE | {"action": "redact"}, redaction="gone")
    found = guarding(made).generate(**batch, **NEW)
    assert answers(tiny_tokenizer, found, start) == ["gone", *said[1:]]


def test_answers_are_drawn_again_where_the_model_samples(
    batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """Until one is cleared; the rows that were cleared at first stay."""
    reads = []

    def score(text: str) -> float:
        reads.append(text)
        return float(len(reads) == 2)  # the second row's first answer

    keys = WHOLE | {"action": "regenerate"}
    torch.manual_seed(3)
    options = {"max_new_tokens": 12, "do_sample": True}
    found = guarding(checking(Reading(score), output=keys)).generate(**batch, **options)
    said = answers(tiny_tokenizer, found, batch["input_ids"].shape[1])
    assert said == [reads[0], reads[3], reads[2]]
    assert len(reads) == 4


@pytest.mark.parametrize(
    "options", [NEW, {"generation_config": GenerationConfig(max_new_tokens=5)}]
)
def test_greedy_answers_are_not_drawn_again(
    batch: Any, guarding: Guarding, tiny_tokenizer: Any, options: dict[str, Any]
) -> None:
    """They would be the same: they are withheld at once."""
    judge = Reading(lambda text: 1.0)
    made = checking(judge, output=WHOLE | {"action": "regenerate"})
    found = guarding(made).generate(**batch, **options)
    assert set(answers(tiny_tokenizer, found, batch["input_ids"].shape[1])) == {REFUSAL}
    assert len(judge.read) == 1


@pytest.fixture(scope="module")
def one(tiny_tokenizer: Any) -> Any:
    """A single prompt."""
    return tiny_tokenizer(ASKED[0], return_tensors="pt")


def test_a_streamer_gets_what_it_would_get(model: Any, one: Any, guarding: Guarding) -> None:
    """The prompt, every token, and the end, when all of it is cleared."""
    plain, kept = Kept(), Kept()
    expected = model.generate(**one, **NEW, streamer=plain)
    found = guarding(checking(having())).generate(**one, **NEW, streamer=kept)
    assert torch.equal(found, expected)
    assert (kept.tokens, kept.ended) == (plain.tokens, 1)
    assert kept.given[0] == plain.given[0]


def test_text_streamers_work_from_another_thread(
    model: Any, one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """As Transformers documents it: the words come while `generate` runs elsewhere."""

    def streamed(made: Any) -> str:
        words = TextIteratorStreamer(tiny_tokenizer, skip_prompt=True, skip_special_tokens=True)
        thread = threading.Thread(target=made.generate, kwargs={**one, **NEW, "streamer": words})
        thread.start()
        text = "".join(words)
        thread.join()
        return text

    assert streamed(guarding(checking(having()))) == streamed(model)
    assert streamed(guarding(checking(Reading(raising)))) == REFUSAL


def test_a_blocked_stream_is_stopped_early(
    one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """The generation too: a long answer is not written to its end."""
    kept, judge = Kept(), Reading(lambda text: 1.0)
    made = checking(judge, output={"window": 4, "first_window": 4})
    found = guarding(made).generate(**one, max_new_tokens=200, do_sample=False, streamer=kept)
    refusal = [*tiny_tokenizer(REFUSAL)["input_ids"], tiny_tokenizer.eos_token_id]
    assert kept.tokens == refusal
    assert found[0, one["input_ids"].shape[1] :].tolist()[: len(refusal)] == refusal


def test_after_a_blocked_window_a_streamer_gets_nothing(
    model: Any, one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """What had left before was cleared; no refusal follows, and the tensor holds one."""
    options = {"max_new_tokens": 60, "do_sample": False}
    whole = model.generate(**one, **options)[0, one["input_ids"].shape[1] :].tolist()
    reads: list[str] = []

    def score(text: str) -> float:
        reads.append(text)
        return float(len(reads) == 3)

    kept = Kept()
    made = checking(Reading(score), output={"window": 4, "first_window": 4, "overlap": 0})
    found = guarding(made).generate(**one, **options, streamer=kept)
    assert 0 < len(kept.tokens) < len(whole)
    assert kept.tokens == whole[: len(kept.tokens)]
    assert "".join(reads[:2]).startswith(tiny_tokenizer.decode(kept.tokens))
    assert answers(tiny_tokenizer, found, one["input_ids"].shape[1]) == [REFUSAL]


def test_a_blocked_request_is_streamed_as_the_refusal(
    one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """One token is written, and thrown away."""
    kept = Kept()
    found = guarding(checking(having("grow"), input={})).generate(**one, **NEW, streamer=kept)
    assert tiny_tokenizer.decode(kept.tokens, skip_special_tokens=True) == REFUSAL
    assert answers(tiny_tokenizer, found, one["input_ids"].shape[1]) == [REFUSAL]


def test_what_a_user_stops_by_still_stops(model: Any, one: Any, guarding: Guarding) -> None:
    """The guard's own criterion stands beside others."""

    def third(ids: Any, scores: Any, **_: Any) -> Any:
        return torch.full((len(ids),), ids.shape[1] >= one["input_ids"].shape[1] + 3)

    kept = Kept()
    guarding(checking(having())).generate(**one, **NEW, stopping_criteria=[third], streamer=kept)
    assert len(kept.tokens) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inputs_embeds": torch.zeros(1, 3, 64)}, "reads requests as token ids"),
        ({}, "reads requests as token ids"),
        ({"input_ids": torch.ones(2, 3, dtype=torch.long), "streamer": Kept()}, "one prompt at a"),
    ],
)
def test_what_cannot_be_read_is_refused(
    guarding: Guarding, given: dict[str, Any], words: str
) -> None:
    """Instead of being let through unread."""
    with pytest.raises(ConfigError, match=words):
        guarding(checking(having())).generate(**given, **NEW)


@pytest.mark.parametrize("name", GuardedModel.past)
def test_there_is_no_way_past_the_guard(model: Any, guarding: Guarding, name: str) -> None:
    """What else the model generates by is not passed on."""
    assert hasattr(model, name)
    with pytest.raises(AttributeError, match="would get past the guard; use generate"):
        getattr(guarding(checking(having())), name)


def test_all_else_is_the_models_own(model: Any, one: Any, guarding: Guarding) -> None:
    """Attributes, forward pass, signature; what returns the model returns the guarded one."""
    guarded = guarding(checking(having()))
    assert guarded.config is model.config and guarded.device == model.device
    assert torch.equal(guarded(**one).logits, model(**one).logits)
    assert inspect.signature(guarded.generate) == inspect.signature(model.generate)
    assert guarded.to("cpu") is guarded and guarded.eval() is guarded
    guarded.marked = 1
    assert model.marked == 1 and "guarded LlamaForCausalLM" in repr(guarded)
    del model.marked
    other = copy.copy(guarded)
    assert other.config is model.config


def test_guard_knows_a_transformers_model(
    tiny_model: Path, batch: Any, tiny_tokenizer: Any
) -> None:
    """And finds the tokenizer beside its weights; positional arguments are the model's."""
    from safeft.models import load_model

    loaded = load_model(str(tiny_model), precision="float32")
    judge = Reading(lambda text: 1.0)
    guarded = GuardedModel(loaded, checking(judge))
    found = guarded.generate(batch["input_ids"], GenerationConfig(max_new_tokens=5))
    assert set(answers(tiny_tokenizer, found, batch["input_ids"].shape[1])) == {REFUSAL}


def test_a_model_of_no_folder_needs_a_tokenizer(model: Any) -> None:
    """There is nothing that could be read without one."""
    with pytest.raises(ModelError, match=r"finds no tokenizer .*guard\(model, tokenizer="):
        GuardedModel(model, checking(having()))


def test_adapters_are_guarded(
    tiny_model: Path,
    tiny_adapter: Path,
    batch: Any,
    tiny_tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A PeftModel, merged or not, is a model; `guard` finds the family by its class."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter)
    monkeypatch.setattr("safeft.guarding.loading.checker", lambda _: checking(having()))
    guarded = guard(made, "default", tokenizer=tiny_tokenizer)
    assert isinstance(guarded, GuardedModel)
    assert torch.equal(guarded.generate(**batch, **NEW), made.generate(**batch, **NEW))
    monkeypatch.setattr("safeft.guarding.loading.checker", lambda _: checking(Reading(raising)))
    found = guard(made, "default", tokenizer=tiny_tokenizer).generate(**batch, **NEW)
    assert set(answers(tiny_tokenizer, found, batch["input_ids"].shape[1])) == {REFUSAL}


def test_an_encoder_decoder_model_is_guarded(tiny_tokenizer: Any) -> None:
    """Its output begins with a token of its own, and does not repeat the request."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=300,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=2,
        eos_token_id=1,
        pad_token_id=2,
    )
    made = T5ForConditionalGeneration(config).eval()
    ids = tiny_tokenizer(ASKED[:1], return_tensors="pt")["input_ids"]
    options = {"input_ids": ids, **NEW, "suppress_tokens": [0, 1, 2]}  # words, of a random model
    plain = made.generate(**options)
    clear = GuardedModel(made, checking(having()), tiny_tokenizer)
    assert torch.equal(clear.generate(**options), plain)
    judge = having(tiny_tokenizer.decode(plain[0, 1:], skip_special_tokens=True))
    found = GuardedModel(made, checking(judge, output=WHOLE), tiny_tokenizer).generate(**options)
    assert found[0, 0] == 2
    assert answers(tiny_tokenizer, found, 1) == [REFUSAL]
    assert judge.seen[0].text == ASKED[0]


def test_a_pipeline_takes_a_guarded_model(
    model: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """It is used by others as the model is."""
    options = {"tokenizer": tiny_tokenizer, "device": "cpu"}
    said = {
        made: pipeline("text-generation", model=made, **options)(
            ASKED[0], return_full_text=False, **NEW
        )[0]["generated_text"]
        for made in (model, guarding(checking(having())), guarding(checking(Reading(raising))))
    }
    plain, cleared, blocked = said.values()
    assert cleared == plain
    assert blocked == REFUSAL
