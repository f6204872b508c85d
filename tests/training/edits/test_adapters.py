"""Adapters from anywhere: what is read, what is left alone, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from safeft.errors import ModelError
from safeft.training.edits import open_adapter
from safeft.training.methods.scale import Scale
from training.edits.conftest import Models

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What each tool leaves beside the two files that PEFT itself writes.
LAYOUTS = {
    "TRL": ["README.md", "training_args.bin", "checkpoint-8/adapter_config.json"],
    "axolotl": ["README.md", "config.json", "tokenizer.json", "debug.log", "checkpoint-8/x.pt"],
    "LLaMA-Factory": ["all_results.json", "trainer_log.jsonl", "training_loss.png", "vocab.json"],
    "unsloth": ["tokenizer.json", "chat_template.jinja", "special_tokens_map.json"],
}


@pytest.mark.parametrize("tool", LAYOUTS)
def test_a_folder_of_any_tool_is_a_peft_folder(tool: str, llama: Models, tmp_path: Path) -> None:
    """Extra files do no harm, and a base path of another machine is not looked up.

    What a server reads beside the adapter goes along; logs and states do not.
    """
    adapter = shutil.copytree(llama.adapter(tool, target_modules=["q_proj"]), tmp_path / "theirs")
    for name in LAYOUTS[tool]:
        (adapter / name).parent.mkdir(exist_ok=True)
        (adapter / name).write_text("{}")
    config = json.loads((adapter / CONFIG).read_text())
    elsewhere = {"base_model_name_or_path": "/home/someone/llama", "some_later_key": [1]}
    (adapter / CONFIG).write_text(json.dumps(config | elsewhere))
    Scale(name="scale", factor=0.5).edit(adapter, tmp_path / "edited", str(llama.aligned))
    kept = {path.name for path in (tmp_path / "edited").iterdir()} - {CONFIG, WEIGHTS}
    assert kept == {one for one in LAYOUTS[tool] if "token" in one or one.endswith("jinja")}
    written = json.loads((tmp_path / "edited" / CONFIG).read_text())
    assert written == config | elsewhere


@pytest.mark.parametrize("alpha", [0, None, "16"])
def test_an_alpha_that_scales_nothing_is_refused(alpha: Any, llama: Models, tmp_path: Path) -> None:
    """By the file and the key."""
    adapter = shutil.copytree(llama.adapter("odd", target_modules=["q_proj"]), tmp_path / "odd")
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | {"lora_alpha": alpha}))
    with pytest.raises(ModelError, match=f"adapter_config.json has lora_alpha {alpha!r}"):
        open_adapter(adapter)


def test_modules_by_name_with_their_own_scale(llama: Models) -> None:
    """Ranks and alphas by name, and √r for rank-stabilised LoRA, as PEFT scales them."""
    patterns = {"rank_pattern": {"q_proj": 6}, "alpha_pattern": {"layers.1.self_attn.v_proj": 2}}
    adapter = llama.adapter(
        "scales", target_modules=["q_proj", "v_proj"], use_rslora=True, **patterns
    )
    found = open_adapter(adapter)
    scales = {name[len("model.layers.") :]: found.module(name).scale for name in found.names}
    assert scales == {
        "0.self_attn.q_proj": pytest.approx(8 / math.sqrt(6)),
        "0.self_attn.v_proj": pytest.approx(8 / math.sqrt(4)),
        "1.self_attn.q_proj": pytest.approx(8 / math.sqrt(6)),
        "1.self_attn.v_proj": pytest.approx(2 / math.sqrt(4)),
    }
    for name, update in llama.updates(adapter).items():
        module = found.module(name)
        made = (module.scale * module.b @ module.a).double()
        torch.testing.assert_close(made, update, rtol=1e-5, atol=1e-7)


def test_a_pickle_is_refused_with_the_way_out(llama: Models, tmp_path: Path) -> None:
    """`adapter_model.bin` may run code when it is read; the message says how to convert it."""
    adapter = shutil.copytree(llama.adapter("old", target_modules=["q_proj"]), tmp_path / "old")
    torch.save(llama.stored(adapter), adapter / "adapter_model.bin")
    whole = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"adapter_model\.bin") as refused:
        open_adapter(adapter)
    code = str(refused.value).partition('`python -c "')[2].removesuffix('"`')
    exec(code)  # what the message tells the user to run
    assert (adapter / WEIGHTS).stat().st_size == len(whole)
    assert open_adapter(adapter).names == open_adapter(llama.room / "old").names


@pytest.mark.parametrize(
    ("file", "content"), [(CONFIG, "{"), (CONFIG, "[]"), (WEIGHTS, "no tensors")]
)
def test_damaged_files_are_named(file: str, content: str, llama: Models, tmp_path: Path) -> None:
    """A file cut short is no traceback."""
    adapter = shutil.copytree(llama.adapter("cut", target_modules=["q_proj"]), tmp_path / "cut")
    (adapter / file).write_text(content)
    with pytest.raises(ModelError, match="damaged"):
        open_adapter(adapter)


def test_half_an_update_is_refused(llama: Models, tmp_path: Path) -> None:
    """A factor A without its B."""
    from safetensors.torch import save_file

    adapter = shutil.copytree(llama.adapter("half", target_modules=["q_proj"]), tmp_path / "half")
    halves: dict[str, Any] = {key: one for key, one in llama.stored(adapter).items() if "_A" in key}
    save_file(halves, adapter / WEIGHTS)
    with pytest.raises(ModelError, match="has no B beside it"):
        open_adapter(adapter)


def test_what_is_written_is_whole_or_absent(llama: Models, tmp_path: Path) -> None:
    """An edit that fails on its way leaves no folder that could be taken for an adapter."""
    adapter = open_adapter(llama.adapter("whole", target_modules=["q_proj"]))
    name = adapter.factors[adapter.names[0]][1]
    with pytest.raises(TypeError):
        adapter.write(tmp_path / "edited", {name: torch.zeros(1)}, {"r": object()})
    assert not (tmp_path / "edited").exists()
    adapter.write(tmp_path / "edited", {})
    assert [path.name for path in tmp_path.iterdir()] == ["edited"]
