"""What the wheel takes along is there, and found where it puts it."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from safeft.assets import find, folder


def test_every_folder_that_the_wheel_takes_is_there_and_found_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pyproject copies beside the package is what `folder` looks up there."""
    root = Path(__file__).parents[1]
    built = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    taken = built["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for source, target in taken.items():
        shutil.copytree(root / source, tmp_path / target)
    monkeypatch.setattr("safeft.assets._PACKAGE", tmp_path / "safeft")
    assert set(taken) == {"recipes", "guardrails", "eval"}
    for source in taken:
        assert folder(source) == tmp_path / "safeft/_assets" / source
    assert find("recipes", "baseline").is_relative_to(tmp_path)
    assert find("guardrails", "default").is_relative_to(tmp_path)
    assert find("eval/suites", "safeft-44").is_relative_to(tmp_path)
