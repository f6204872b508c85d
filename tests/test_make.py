"""`make demo` reuses an active environment that fits, and touches no other."""

from __future__ import annotations

import os
import runpy
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FITS: dict[str, Any] = runpy.run_path(str(ROOT / ".ci/fits.py"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"pytest=={version('pytest')}", True),
        ("pytest==0.0.1", False),
        ("no-such-package-at-all==1.0", True),
        (f"torch=={version('torch').partition('+')[0]}", True),
    ],
)
def test_a_pin_is_broken_by_another_version_alone(line: str, expected: bool) -> None:
    """A build such as `+cpu` is the same version; what is not installed breaks nothing."""
    assert FITS["all_fit"](line) is expected


def test_comments_are_no_pins() -> None:
    """And one pin that is broken is enough."""
    met = f"# exact\n\npytest=={version('pytest')}  # tests\n"
    assert FITS["all_fit"](met)
    assert not FITS["all_fit"](met + "numpy==0.0.1\n")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["pytest>=8"], True),
        (["pytest>=8", "no-such-package-at-all"], False),
        (["no-such-package-at-all; python_version < '3'"], True),
        (["transformers"], True),
        (["safeft[vllm]"], False),
    ],
)
def test_what_is_required_must_be_there(wanted: list[str], expected: bool) -> None:
    """With all that it requires itself; markers for other machines ask for nothing."""
    assert FITS["complete"](wanted) is expected


def test_the_demo_needs_less_than_the_tests() -> None:
    """Whoever has only what `make demo` installs is not asked for linters."""
    project = (ROOT / "pyproject.toml").read_text()
    demo, test = (set(FITS["required"](project, target)) for target in ("demo", "test"))
    assert demo < test
    assert any(line.startswith("ruff") for line in test - demo)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_makefile_installs_what_is_asked_for(target: str) -> None:
    """The extras of a target are the same words in both files."""
    extras = ",".join(FITS["EXTRAS"][target])
    assert f"-e '.[{extras}]'" in (ROOT / "Makefile").read_text()


Planned = Callable[[str, str], str]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """What make would do with an active environment whose check prints this."""

    def plan(printed: str, target: str) -> str:
        python = tmp_path / "bin/python"
        python.parent.mkdir(exist_ok=True)
        python.write_text(f"#!/bin/sh\necho {printed}\n")
        python.chmod(0o755)
        plain = {k: v for k, v in os.environ.items() if k not in ("CONDA_PREFIX", "MAKEFLAGS")}
        environment = {**plain, "VIRTUAL_ENV": str(tmp_path)}
        command = ["make", "--dry-run", "--always-make", target]
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return run.stdout

    return plan


@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_environment_that_fits_is_used_as_it_is(
    planned: Planned, tmp_path: Path, target: str
) -> None:
    """Nothing is installed and no other environment is made."""
    said = planned("fits", target)
    assert f"{tmp_path}/bin/python -m " in said
    assert "pip" not in said
    assert ".venv" not in said


def test_another_environment_is_left_alone(planned: Planned, tmp_path: Path) -> None:
    """A fresh clone makes its own."""
    said = planned("", "demo")
    assert "-m venv .venv" in said
    assert ".venv/bin/python -m pip install" in said
    assert str(tmp_path) not in said
