"""Laws of scaling: the update is multiplied, for every kind of adapter that is linear in a part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from safeft.errors import ModelError
from safeft.models import load_model
from safeft.training.methods.scale import Scale
from training.edits.conftest import Models, loaded

IDS = torch.tensor([[5, 17, 33, 1, 8, 59], [7, 7, 4, 40, 20, 3]])
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("LoraConfig", {"target_modules": "all-linear"}),
    "rsLoRA": ("LoraConfig", {"target_modules": ["q_proj"], "use_rslora": True}),
    "biases": ("LoraConfig", {"target_modules": ["q_proj"], "lora_bias": True}),
    "embeddings": ("LoraConfig", {"target_modules": ["embed_tokens", "v_proj"]}),
    "LoHa": ("LoHaConfig", {"target_modules": ["q_proj", "down_proj"], "r": 4}),
    "LoKr": ("LoKrConfig", {"target_modules": ["q_proj", "down_proj"], "r": 2}),
}


def logits(pair: Models, adapter: Path | None) -> torch.Tensor:
    """Of the aligned model, with an adapter beside it as PEFT applies it."""
    from peft import PeftModel

    model = loaded(pair.aligned)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_update_is_multiplied(
    kind: str, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """γ = 1 is the adapter, γ = 0 the model without it, and γ = 0.3 three tenths of each update."""
    pair = models("qwen2")
    name, settings = KINDS[kind]
    adapter = pair.adapter(kind, kind=name, **settings)
    for factor in (0.0, 0.3, 1.0):
        Scale(name="scale", factor=factor).edit(adapter, tmp_path / f"{factor}", "")
    plain, tuned = logits(pair, None), logits(pair, adapter)
    assert (plain - tuned).abs().max() > 1e-3
    torch.testing.assert_close(logits(pair, tmp_path / "0.0"), plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(logits(pair, tmp_path / "1.0"), tuned, rtol=0, atol=1e-6)
    before, after = pair.updates(adapter), pair.updates(tmp_path / "0.3")
    for module, update in before.items():
        wanted = 0.3 * update
        torch.testing.assert_close(after[module], wanted, rtol=0, atol=1e-6 * wanted.abs().max())


def test_the_identity_keeps_every_byte(llama: Models, tmp_path: Path) -> None:
    """γ = 1 leaves all tensors and the configuration, and notes say what was not scaled."""
    settings = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["lm_head"]}
    adapter = llama.adapter("identity", **settings)
    notes = Scale(name="scale", factor=1.0).edit(adapter, tmp_path / "same", "")
    before, after = llama.stored(adapter), llama.stored(tmp_path / "same")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert notes == {"scaled_tensors": 4, "tensors_left_as_they_were": 1}


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("LoraConfig", {"use_dora": True}, "is DoRA"),
        ("IA3Config", {"feedforward_modules": []}, "is IA3, whose update is not linear"),
    ],
)
def test_what_does_not_scale_is_refused(
    kind: str, settings: dict[str, Any], said: str, llama: Models, tmp_path: Path
) -> None:
    """DoRA also rescales the model's weights, IA³ multiplies; both by name."""
    adapter = llama.adapter(said[:8], kind=kind, target_modules=["q_proj"], **settings)
    with pytest.raises(ModelError, match=said):
        Scale(name="scale").edit(adapter, tmp_path / "edited", "")


def test_the_testbed_takes_a_scaled_adapter(llama: Models, tmp_path: Path) -> None:
    """What is written is a folder that safeft's own loader takes, merged."""
    adapter = llama.adapter("loads", target_modules=["q_proj"])
    Scale(name="scale", factor=0.5).edit(adapter, tmp_path / "half", str(llama.aligned))
    merged = load_model(str(llama.aligned), adapters=[tmp_path / "half"])
    name = "model.layers.0.self_attn.q_proj"
    moved = merged.get_submodule(name).weight - loaded(llama.aligned).get_submodule(name).weight
    torch.testing.assert_close(
        moved.double(), 0.5 * llama.updates(adapter)[name], rtol=0, atol=1e-6
    )
