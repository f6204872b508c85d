"""Export: nothing half-written stays, and nothing that no server could load is copied."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from processes import done, refused


@pytest.fixture
def asked(tiny_model: Path, tiny_adapter: Path, tmp_path: Path) -> list[object]:
    """The command, without merging or copying."""
    return ["export", tiny_adapter, "--model", tiny_model, "--output", tmp_path / "out"]


def full(*_: object, **__: object) -> None:
    """What the system says when the disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing(*_: object, **__: object) -> None:
    """What safetensors says when the disk is full."""
    raise RuntimeError("Error while serializing: I/O error")


@pytest.mark.parametrize("fails", [full, failing])
def test_a_full_disk_leaves_nothing(
    asked: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Any
) -> None:
    """While copying, and while the merged weights are written; nothing promises to resume."""
    from transformers import PreTrainedModel

    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(shutil, "copy2", fails)
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", fails)
    for how in ("--copy", "--merge"):
        said = refused(*asked, how)
        assert "the disk is full; free some space, then run the same command again" in said
        assert "resume" not in said
    assert not list(tmp_path.glob("out*"))


def test_an_adapter_without_weights_is_not_copied(
    tiny_model: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    """A server would find out only when it starts."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy2(tiny_adapter / "adapter_config.json", bare)
    said = refused("export", bare, "--copy", "--model", tiny_model, "--output", tmp_path / "out")
    assert "no adapter_model.safetensors in this folder" in said
    assert not (tmp_path / "out").exists()


def test_a_copy_names_a_model_that_exists(tiny_adapter: Path, tmp_path: Path) -> None:
    """The model is part of the request, also where its weights are not needed."""
    asked = ["export", tiny_adapter, "--copy", "--model", "nonsense", "--output", tmp_path / "out"]
    assert "model 'nonsense': no such folder" in refused(*asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", [".", "link"])
def test_an_empty_folder_that_is_there_is_filled(
    tiny_model: Path,
    tiny_adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
) -> None:
    """Where the command runs, or behind a link."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder if output == "." else tmp_path)
    done("export", tiny_adapter, "--copy", "--model", tiny_model, "--output", output)
    assert (folder / "adapter_model.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link"]
