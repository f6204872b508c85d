"""Hypothesis draws the same examples on every machine, however slow it is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
settings.load_profile("seeded")

SIMULATIONS = Path(__file__).parents[2] / "benchmarks/statistics"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script of benchmarks/statistics by name, which finds its neighbours as when it is run."""
    monkeypatch.syspath_prepend(str(SIMULATIONS))

    def load(name: str) -> ModuleType:
        # Under a name of its own: `coverage` is a well-known package as well.
        spec = importlib.util.spec_from_file_location(
            f"simulated_{name}", SIMULATIONS / f"{name}.py"
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load
