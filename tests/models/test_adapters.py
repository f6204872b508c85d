"""Adapters: merged equals applied, and one that does not fit is refused rather than dropped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from safeft.errors import ModelError, RunError
from safeft.models import export, load_model, with_adapter

IDS = torch.tensor([[5, 17, 250, 33, 1, 8, 99], [7, 7, 120, 4, 60, 200, 3]])


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(IDS).logits
    return found


@pytest.fixture(scope="module")
def applied(tiny_model: Path, tiny_adapter: Path) -> torch.Tensor:
    """The logits with the adapter beside the weights, as PEFT applies it."""
    from peft import PeftModel

    return logits(PeftModel.from_pretrained(load_model(str(tiny_model)), tiny_adapter).eval())


def test_merged_equals_applied(tiny_model: Path, tiny_adapter: Path, applied: torch.Tensor) -> None:
    """Merging changes no logit beyond rounding, and the adapter does change the model."""
    plain = load_model(str(tiny_model))
    merged = load_model(str(tiny_model), adapters=[tiny_adapter])
    torch.testing.assert_close(logits(merged), applied, rtol=0, atol=2e-4)
    assert (logits(plain) - applied).abs().max() > 0.1
    assert type(merged) is type(plain)
    assert not any("lora" in name for name in merged.state_dict())


def test_several_adapters_are_merged_in_order(tiny_model: Path, tiny_adapter: Path) -> None:
    """Merging one adapter twice adds its change twice: each is merged into what came before."""
    weights = [
        load_model(str(tiny_model), adapters=[tiny_adapter] * count).state_dict()
        for count in range(3)
    ]
    name = "model.layers.0.self_attn.q_proj.weight"
    first, second = weights[1][name] - weights[0][name], weights[2][name] - weights[1][name]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_a_merged_export_is_a_plain_model(
    tiny_model: Path, tiny_adapter: Path, applied: torch.Tensor, tmp_path: Path
) -> None:
    """Transformers alone loads the exported folder: same logits, same tokenizer, safetensors."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "new" / "merged"
    export(str(tiny_model), tiny_adapter, output, merge=True, precision=None)
    loaded = AutoModelForCausalLM.from_pretrained(output).eval()
    torch.testing.assert_close(logits(loaded), applied, rtol=0, atol=2e-4)
    chat = [{"role": "user", "content": "how does one water a plant"}]
    one, other = (AutoTokenizer.from_pretrained(folder) for folder in (tiny_model, output))
    assert one.apply_chat_template(chat) == other.apply_chat_template(chat)
    assert not list(output.glob("*.bin")) and list(output.glob("*.safetensors"))
    assert [path.name for path in output.parent.iterdir()] == ["merged"]


def test_a_merged_export_has_the_precision_that_was_asked(
    tiny_model: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    """`precision` is what the weights are stored in."""
    from safetensors.torch import load_file

    export(str(tiny_model), tiny_adapter, tmp_path / "half", merge=True, precision="bfloat16")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_a_copied_export_is_the_adapter(
    tiny_model: Path, tiny_adapter: Path, applied: torch.Tensor, tmp_path: Path
) -> None:
    """The copy has the adapter's bytes, and Transformers alone loads it onto its base model."""
    from transformers import AutoModelForCausalLM

    export(str(tiny_model), tiny_adapter, tmp_path / "copy", merge=False, precision=None)
    for path in tiny_adapter.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "copy").eval()
    torch.testing.assert_close(logits(loaded), applied, rtol=0, atol=2e-4)


def test_an_export_never_overwrites(tiny_model: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    """A file or a full folder stays as it is; an empty folder and a leftover do not hinder."""
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    (full / "thesis.tex").write_text("x")
    file.write_text("x")
    for output in (full, file):
        with pytest.raises(RunError, match="is not an empty folder; choose another --output"):
            export(str(tiny_model), tiny_adapter, output, merge=False, precision=None)
    assert (full / "thesis.tex").read_text() == file.read_text() == "x"
    empty.mkdir()
    (tmp_path / "empty.partial").mkdir()
    (tmp_path / "empty.partial" / "half.safetensors").write_text("x")
    export(str(tiny_model), tiny_adapter, empty, merge=False, precision=None)
    names = {path.name for path in empty.iterdir()}
    assert "adapter_config.json" in names and "half.safetensors" not in names


@pytest.mark.parametrize("merge", [True, False])
def test_a_folder_without_an_adapter_is_refused(
    tiny_model: Path, tmp_path: Path, merge: bool
) -> None:
    """Exporting a folder without weights as an adapter names what it lacks, and writes nothing."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy2(tiny_model / "config.json", bare)
    with pytest.raises(ModelError, match=r"no adapter_config\.json in this folder"):
        export(str(tiny_model), bare, tmp_path / "out", merge=merge, precision=None)
    with pytest.raises(ModelError, match=r"no adapter_config\.json in this folder"):
        load_model(str(tiny_model), adapters=[bare])
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 32, "intermediate_size": 64},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
    ],
    ids=["narrower", "fewer layers", "more layers"],
)
def test_an_adapter_of_another_size_is_refused(
    tiny_llama: Callable[..., Any], tiny_adapter: Path, changes: dict[str, int]
) -> None:
    """Weights without a counterpart are an error: PEFT would drop or make them up silently."""
    with pytest.raises(ModelError, match="does not fit the model") as caught:
        with_adapter(tiny_llama(**changes), tiny_adapter)
    assert str(tiny_adapter) in str(caught.value)


def test_an_adapter_of_another_architecture_is_refused(tiny_adapter: Path) -> None:
    """A Llama adapter does not fit a GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=300, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1
    )
    with pytest.raises(ModelError, match="does not fit the model"):
        with_adapter(GPT2LMHeadModel(config), tiny_adapter)


def test_a_damaged_adapter_is_refused(
    tiny_llama: Callable[..., Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    """Cut weights, half a config and an unknown kind of adapter are all ModelErrors."""
    damaged = {
        "adapter_model.safetensors": b"\x08\x00",
        "adapter_config.json": b"{",
    }
    for name, content in damaged.items():
        folder = shutil.copytree(tiny_adapter, tmp_path / name)
        (folder / name).write_bytes(content)
        with pytest.raises(ModelError, match="does not fit the model"):
            with_adapter(tiny_llama(), folder)
    folder = shutil.copytree(tiny_adapter, tmp_path / "kind")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "TELEPATHY"}))
    with pytest.raises(ModelError, match="does not fit the model"):
        with_adapter(tiny_llama(), folder)
