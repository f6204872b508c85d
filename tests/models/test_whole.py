"""Laws of full fine-tunes in an adapter's place: what counts as one, and in which company."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from safeft.errors import ModelError
from safeft.generation.vllm import unservable
from safeft.models import is_whole, load_model
from safeft.models.load import check_adapter, check_tuned
from safeft.models.whole import begun, check_fit

IDS = torch.tensor([[5, 17, 250, 33, 1, 8, 99]])


def logits(model: Any) -> Any:
    """What the model computes for some tokens."""
    with torch.inference_mode():
        return model(IDS).logits


@pytest.fixture
def tuned(tiny_llama: Callable[..., Any], tmp_path: Path) -> Path:
    """A model of the tiny one's size with other weights, without a tokenizer."""
    tiny_llama(seed=5).save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


def test_a_model_with_weights_and_no_adapter_is_whole(
    tuned: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    """An adapter's folder that also holds a config is an adapter's."""
    assert is_whole(tuned) and not is_whole(tiny_adapter) and not is_whole(tmp_path / "nowhere")
    check_tuned(tuned)
    check_tuned(tiny_adapter)
    both = shutil.copytree(tiny_adapter, tmp_path / "both")
    shutil.copy2(tuned / "config.json", both)
    assert not is_whole(both)
    (tuned / "model.safetensors").unlink()
    assert not is_whole(tuned)
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        check_tuned(tuned)


def test_it_answers_in_the_models_place_and_takes_an_adapter(
    tuned: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    """First the whole model, then the adapter on it; the other way round would undo the adapter."""
    alone = logits(load_model(str(tuned)))
    assert torch.equal(alone, logits(load_model(str(tiny_model), adapters=[tuned])))
    both = logits(load_model(str(tiny_model), adapters=[tuned, tiny_adapter]))
    assert torch.equal(both, logits(load_model(str(tuned), adapters=[tiny_adapter])))
    assert not torch.allclose(both, alone, atol=1e-2)
    with pytest.raises(ModelError, match="is a full fine-tune and would undo"):
        load_model(str(tiny_model), adapters=[tiny_adapter, tuned])
    assert begun(str(tiny_model), [tiny_adapter]) == (str(tiny_model), [tiny_adapter])


def test_it_is_quantised_as_a_model_is(tuned: Path, tiny_model: Path) -> None:
    """The bits are those of its own weights."""
    pytest.importorskip("bitsandbytes")
    found = logits(load_model(str(tiny_model), adapters=[tuned], quantization="int8"))
    assert torch.equal(found, logits(load_model(str(tuned), quantization="int8")))


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 32, "intermediate_size": 64},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
        {"vocab_size": 301},
    ],
)
def test_another_size_is_refused(
    tiny_llama: Callable[..., Any], tiny_model: Path, tmp_path: Path, changes: dict[str, int]
) -> None:
    """By name, with a weight that differs."""
    tiny_llama(**changes).save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="does not fit the model") as caught:
        load_model(str(tiny_model), adapters=[tmp_path / "other"])
    assert str(tmp_path / "other") in str(caught.value)
    assert "weights differ" in str(caught.value)


def test_another_architecture_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """Whatever its size: the classes differ, or the names of the weights do."""
    from transformers import GPT2Config, GPT2LMHeadModel, Qwen2ForCausalLM

    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 1}
    GPT2LMHeadModel(GPT2Config(vocab_size=300, **sizes)).save_pretrained(tmp_path / "gpt")
    config = json.loads((tiny_model / "config.json").read_text())
    kind = Qwen2ForCausalLM.config_class
    plain = {key: config[key] for key in ("vocab_size", "hidden_size", "intermediate_size")}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    Qwen2ForCausalLM(kind(**plain, **heads)).save_pretrained(tmp_path / "qwen")
    for name in ("gpt", "qwen"):
        with pytest.raises(ModelError, match="does not fit the model"):
            check_fit(str(tiny_model), tmp_path / name)


def test_what_needs_an_adapter_says_what_it_found(tuned: Path) -> None:
    """An edit cannot read it; vLLM serves it under its own name, as it serves merged weights."""
    with pytest.raises(ModelError, match="is a full fine-tune: a whole model"):
        check_adapter(tuned)
    assert unservable(tuned) == "it is a full fine-tune"
