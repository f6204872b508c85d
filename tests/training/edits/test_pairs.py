"""Laws of the pair: a weight is found by its module's name, in whatever files it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from safeft.errors import ModelError
from safeft.training.edits import Pair, Weights, open_adapter
from training.edits.conftest import Models, loaded

NAME = "model.layers.1.mlp.down_proj"
COMMIT = "a" * 40


def weight(folder: Path) -> torch.Tensor:
    """The weight as Transformers loads it."""
    found: torch.Tensor = loaded(folder).get_submodule(NAME).weight.detach()
    return found


def test_one_file_and_many_give_the_same(llama: Models, tmp_path: Path) -> None:
    """By an index, without one, and from a single file; bfloat16 stays bfloat16."""
    shards = sorted(llama.aligned.glob("*.safetensors"))
    assert len(shards) > 1
    unlisted = shutil.copytree(llama.aligned, tmp_path / "unlisted")
    (unlisted / "model.safetensors.index.json").unlink()
    for folder in (llama.aligned, unlisted):
        assert torch.equal(Weights.of(str(folder)).of_module(NAME), weight(llama.aligned))
    half = shutil.copytree(llama.base, tmp_path / "half")
    path = half / "model.safetensors"
    save_file({key: one.bfloat16() for key, one in load_file(path).items()}, path)
    found = Weights.of(str(half)).of_module(NAME)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, weight(llama.base).bfloat16())


def test_a_checkpoint_of_the_bare_model_fits(llama: Models, tmp_path: Path) -> None:
    """Saved without its head, a model's names lack their first part."""
    loaded(llama.base).model.save_pretrained(tmp_path / "bare")
    weights = Weights.of(str(tmp_path / "bare"))
    assert not any(key.startswith("model.") for key in weights.files)
    assert torch.equal(weights.of_module(NAME), weight(llama.base))


def test_the_hub_serves_shards_and_single_files(
    llama: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the Hub's cache, offline, at a pinned commit."""
    import huggingface_hub.constants as hub

    for name, folder in (("base", llama.base), ("aligned", llama.aligned)):
        place = tmp_path / f"models--org--{name}" / "snapshots" / COMMIT
        shutil.copytree(folder, place)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    pair = Pair.of(f"org/base@{COMMIT}", f"org/aligned@{COMMIT}")
    assert torch.equal(pair.base.of_module(NAME), weight(llama.base))
    assert torch.equal(pair.aligned.of_module(NAME), weight(llama.aligned))
    with pytest.raises(ModelError, match="org/absent"):
        Weights.of(f"org/absent@{COMMIT}")


def test_quantised_weights_are_refused(llama: Models, tmp_path: Path) -> None:
    """Bytes cannot be subtracted; the message asks for plain weights."""
    packed = shutil.copytree(llama.base, tmp_path / "packed")
    path = packed / "model.safetensors"
    save_file({key: one.to(torch.uint8) for key, one in load_file(path).items()}, path)
    module = open_adapter(llama.adapter("plain", target_modules=["down_proj"])).module(NAME)
    with pytest.raises(ModelError, match="is stored quantised"):
        Pair.of(str(packed), str(llama.aligned)).change(module)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    """A pickle is not read."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        Weights.of(str(tmp_path))
