"""Pairs of tiny random models, real PEFT adapters for them, and the dense truth about both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

WIDTH = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {"num_key_value_heads": 2, "intermediate_size": 48, "tie_word_embeddings": False}


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**WIDTH, **GROUPED))


def _qwen2() -> Any:
    """Its q, k and v projections have biases."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**WIDTH, **GROUPED))


def _gpt2() -> Any:
    """Its Conv1D layers store a weight as (inputs, outputs)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(**sizes))


# How each kind of adapter is told to begin at random, and not at zero.
RANDOM: dict[str, dict[str, Any]] = {
    "LoraConfig": {"r": 4, "lora_alpha": 8, "init_lora_weights": False},
    "LoHaConfig": {"init_weights": False},
    "LoKrConfig": {"init_weights": False},
    "IA3Config": {},
}
FAMILIES = {"llama": _llama, "qwen2": _qwen2, "gpt2": _gpt2}


@dataclass(frozen=True)
class Models:
    """A base model, the model that was aligned from it, and adapters of the latter."""

    family: str
    base: Path
    aligned: Path
    room: Path

    def adapter(self, name: str, seed: int = 1, kind: str = "LoraConfig", **settings: Any) -> Path:
        """The folder of a random adapter, saved by PEFT."""
        import peft

        folder = self.room / name
        given = {"task_type": "CAUSAL_LM"} | RANDOM[kind] | settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = peft.get_peft_model(loaded(self.aligned), getattr(peft, kind)(**given))
            for key, value in model.named_parameters():
                if value.requires_grad and "lora_" not in key:
                    value.data += 0.01 * torch.randn_like(value)
        model.save_pretrained(folder)
        return folder

    def updates(self, adapter: Path) -> dict[str, Tensor]:
        """What PEFT adds to each module's weight, (outputs, inputs) in float64."""
        from peft import PeftModel

        model = PeftModel.from_pretrained(loaded(self.aligned), adapter)
        found = {}
        for name, module in model.named_modules():
            if hasattr(module, "get_delta_weight"):
                update = module.get_delta_weight("default").detach().double()
                short = name.removeprefix("base_model.model.")
                found[short] = update.T if self._turned(name) else update
        return found

    def change(self, module: str) -> Tensor:
        """W_aligned - W_base of a module, (outputs, inputs) in float64."""
        one, other = (
            loaded(folder).get_submodule(module).weight.detach().double()
            for folder in (self.aligned, self.base)
        )
        return (one - other).T if self._turned(module) else one - other

    def _turned(self, module: str) -> bool:
        return self.family == "gpt2" or module.endswith("embed_tokens")

    def stored(self, adapter: Path) -> dict[str, Tensor]:
        """The tensors of an adapter's file."""
        from safetensors.torch import load_file

        found: dict[str, Tensor] = load_file(adapter / "adapter_model.safetensors")
        return found


def loaded(folder: Path) -> Any:
    """A model in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Models]:
    """The pair of a family, made once; the aligned one is sharded."""
    made: dict[str, Models] = {}

    def make(family: str) -> Models:
        if family not in made:
            room = tmp_path_factory.mktemp(family)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = FAMILIES[family]()
                model.save_pretrained(room / "base")
                for value in model.parameters():
                    value.data += 0.02 * torch.randn_like(value)
            model.save_pretrained(room / "aligned", max_shard_size="40KB")
            made[family] = Models(family, room / "base", room / "aligned", room)
        return made[family]

    return make


@pytest.fixture
def llama(models: Callable[[str], Models]) -> Models:
    """The pair of Llamas."""
    return models("llama")


def filtered(change: Tensor, update: Tensor) -> Tensor:
    """C ΔW by the paper's definition: the whole matrix C = V Vᵀ / ‖V‖_F."""
    return (change @ change.T) / change.norm() @ update


def cosine(one: Tensor, other: Tensor) -> float:
    """Of two matrices, as the vectors of their entries."""
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))
