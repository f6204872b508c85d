"""Quantised loading: each kind's configuration, real 4-bit and 8-bit modules, adapters beside."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from safeft.errors import ConfigError
from safeft.generation.transformers import TransformersGenerator
from safeft.models import load_model, load_tokenizer
from safeft.models.quantized import KINDS, quantization_config
from safeft.records import Decoding, Prompt

bitsandbytes = pytest.importorskip("bitsandbytes")

PROMPTS = [Prompt.of(f"how does one grow {n} plants?", str(n)) for n in range(4)]
GREEDY = Decoding(max_new_tokens=12)
EVERY = 14  # linear layers of the tiny model's two blocks, without its head


def answers(model: Any, tiny_model: Path) -> list[str]:
    """What it says, greedily."""
    generator = TransformersGenerator(model, load_tokenizer(str(tiny_model)), "tiny")
    return [one.text for one in generator(PROMPTS, GREEDY)]


def count(model: Any, kind: type) -> int:
    """How many of its modules are of this kind exactly."""
    return sum(type(module) is kind for module in model.modules())


@pytest.mark.parametrize(
    ("asked", "hint"), [("nf5", "'nf4'"), ("fp44", "'fp4'"), ("int4", "'int8'")]
)
def test_an_unknown_kind_is_refused_with_the_nearest(asked: str, hint: str) -> None:
    """A ConfigError names the key, what was asked and the kind that was probably meant."""
    with pytest.raises(ConfigError) as caught:
        quantization_config(asked, "float32")
    assert str(caught.value) == f"quantization: no {asked!r}; did you mean {hint}?"


def test_a_kind_like_no_other_is_refused_with_all_of_them() -> None:
    """Where none is near the message lists what there is."""
    with pytest.raises(ConfigError, match="no 'gguf'; known: fp4, int8, nf4"):
        quantization_config("gguf", "float32")


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_four_bits_carry_their_type_and_what_they_compute_in(kind: str, dtype: str) -> None:
    """The data type by its name, products in the model's precision, no double quantisation."""
    found = quantization_config(kind, dtype)
    assert (found.load_in_4bit, found.load_in_8bit) == (True, False)
    assert found.bnb_4bit_quant_type == kind
    assert found.bnb_4bit_compute_dtype == getattr(torch, dtype)
    assert not found.bnb_4bit_use_double_quant


def test_eight_bits_are_eight_bits() -> None:
    """LLM.int8 with its own threshold for outliers, and nothing of the 4-bit kinds."""
    found = quantization_config("int8", "float32")
    assert (found.load_in_4bit, found.load_in_8bit) == (False, True)
    assert found.llm_int8_threshold == 6.0


def test_every_kind_has_a_configuration() -> None:
    """What a comparison may name can be loaded, and no two kinds are the same."""
    made = [quantization_config(kind, "float32").to_dict() for kind in KINDS]
    assert len({str(sorted(one.items(), key=str)) for one in made}) == len(KINDS) == 3


@pytest.mark.parametrize(
    ("kind", "module"), [("nf4", "Linear4bit"), ("fp4", "Linear4bit"), ("int8", "Linear8bitLt")]
)
def test_a_quantised_model_answers(tiny_model: Path, kind: str, module: str) -> None:
    """All linear layers but the head hold quantised weights, and the logits stay near."""
    model = load_model(str(tiny_model), quantization=kind)
    assert count(model, getattr(bitsandbytes.nn, module)) == EVERY
    assert type(model.lm_head) is torch.nn.Linear and not model.training
    said = answers(model, tiny_model)
    assert len(said) == len(PROMPTS) and all(said)

    ids = torch.tensor([[5, 17, 250, 33, 1, 8, 99]], device=model.device)
    plain = load_model(str(tiny_model))
    with torch.inference_mode():
        near, exact = model(ids).logits.float(), plain(ids).logits.float()
    assert 0 < (near - exact).norm() / exact.norm() < 0.5


def test_the_quantised_kinds_differ(tiny_model: Path) -> None:
    """nf4 rounds otherwise than fp4, and int8 loses less than either."""
    ids = torch.tensor([[5, 17, 250, 33, 1, 8, 99]])
    plain = load_model(str(tiny_model))
    with torch.inference_mode():
        exact = plain(ids.to(plain.device)).logits.float()
        lost = {
            kind: float((model(ids.to(model.device)).logits.float() - exact).norm())
            for kind in KINDS
            for model in [load_model(str(tiny_model), quantization=kind)]
        }
    assert lost["int8"] < min(lost["nf4"], lost["fp4"])
    assert lost["nf4"] != lost["fp4"]


def test_an_adapter_beside_the_weights_answers_as_a_merged_one(
    tiny_model: Path, tiny_adapter: Path
) -> None:
    """The same greedy answers, which are not those of the model alone; only one keeps LoRA."""
    load = partial(load_model, str(tiny_model), precision="float32")
    merged = load(adapters=[tiny_adapter])
    beside = load(adapters=[tiny_adapter], merge=False)
    assert not beside.training
    assert any("lora" in key for key in beside.state_dict())
    assert not any("lora" in key for key in merged.state_dict())
    said = answers(merged, tiny_model)
    assert answers(beside, tiny_model) == said != answers(load(), tiny_model)


def test_an_adapter_lies_beside_quantised_weights_in_full(
    tiny_model: Path, tiny_adapter: Path
) -> None:
    """The base stays 4-bit and the adapter is not rounded: QLoRA's way of serving."""
    from safetensors.torch import load_file

    model = load_model(str(tiny_model), adapters=[tiny_adapter], merge=False, quantization="nf4")
    held = [one for one in model.modules() if isinstance(one, bitsandbytes.nn.Linear4bit)]
    assert len({id(one.weight) for one in held if one.weight.dtype == torch.uint8}) == EVERY
    stored = load_file(tiny_adapter / "adapter_model.safetensors")
    loaded = {key.replace(".default", ""): value for key, value in model.state_dict().items()}
    assert stored and all(torch.equal(loaded[key].cpu(), value) for key, value in stored.items())
