"""Laws of what a model is: whatever it computes with counts, its name and its README do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from safeft.errors import ModelError
from safeft.training import folder_identity, model_identity

OLD, NEW = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "code.py"]
)
def test_every_decisive_file_counts(tiny_model: Path, tmp_path: Path, name: str) -> None:
    """Weights, architecture, tokenizer, template and code; changed or added."""
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    assert folder_identity(copy) == folder_identity(tiny_model) == model_identity(str(copy))
    with (copy / name).open("ab") as file:
        file.write(b"\n")
    assert folder_identity(copy) != folder_identity(tiny_model)


def test_words_about_a_model_do_not_count(tiny_model: Path, tmp_path: Path) -> None:
    """A card may be mended without training anew."""
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    (copy / "README.md").write_text("A model.")
    assert folder_identity(copy) == folder_identity(tiny_model)


def test_alpha_counts(tiny_adapter: Path, tmp_path: Path) -> None:
    """An adapter's weights say nothing without the factor that they are applied with."""
    copy = shutil.copytree(tiny_adapter, tmp_path / "copy")
    config = copy / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 16'))
    assert folder_identity(copy) != folder_identity(tiny_adapter)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache with two commits of one model, offline; `main` is the newer one."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "models--org--tiny"
    for commit in (OLD, NEW):
        (cached / "snapshots" / commit).mkdir(parents=True)
        (cached / "snapshots" / commit / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(NEW)
    return cached


def test_a_hub_model_is_its_name_and_its_commit(hub: Path) -> None:
    """A branch, or no revision, stands for the commit that it points to."""
    names = ("org/tiny", "org/tiny@main", f"org/tiny@{NEW}", f"org/tiny@{OLD}")
    found = [model_identity(name) for name in names]
    assert found == [f"org/tiny@{commit}" for commit in (NEW, NEW, NEW, OLD)]
    (hub / "refs/main").write_text(OLD)
    assert model_identity("org/tiny") == f"org/tiny@{OLD}"


@pytest.mark.usefixtures("hub")
def test_a_commit_that_cannot_be_found_is_said() -> None:
    """With the model's name and what may be the reason."""
    for name in ("org/other", "org/tiny@" + "c" * 40, "org/tiny@branch"):
        with pytest.raises(ModelError, match=r"could not be loaded: .*was it downloaded") as caught:
            model_identity(name)
        assert name in str(caught.value)
