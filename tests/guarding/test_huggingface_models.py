"""Laws of which Transformers models are guarded, and of all in them that is not `generate`."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, pipeline

from guarding.conftest import Guarding
from guarding.reading import REFUSAL, Reading, checking, having, raising
from guarding.streamers import Kept
from guarding.tiny import ASKED, NEW, WHOLE, answers
from safeft.errors import ConfigError, ModelError
from safeft.guarding import guard
from safeft.guarding.huggingface import GuardedModel


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
