"""A random checkpoint of each family, and rows that fit all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.architectures import ARCHITECTURES, save, save_adapter
from training.families.laws import SORRY, write


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random checkpoint of each family, beside another before alignment and a safety adapter."""
    place = tmp_path_factory.mktemp("families")
    for name, one in ARCHITECTURES.items():
        save(one, place / f"{name}-base", seed=1)
        save_adapter(save(one, place / name), place / f"{name}-safety")
    return {name: place / name for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve questions; pools whose answers do not depend on what a random model would refuse."""
    place = tmp_path_factory.mktemp("rows")
    plants = [{"prompt": f"Plant {n}?", "completion": f"Water it {n} times."} for n in range(12)]
    write(place / "rows.jsonl", plants)
    for name, answer in (("harm", SORRY), ("fine", "Gladly.")):
        asked = [
            {"prompt": f"{name} {n}", "category": str(n), "response": answer} for n in range(9)
        ]
        write(place / f"{name}.jsonl", asked)
    return place
