"""Laws of checkpoints that come quantised: known by their config, refused where none reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import refused
from quantised import FORMS, quantised

from safeft.models import is_quantised, resolve, unreadable

MATRIX = """
model: {model}
recipes: []
reference: untuned
suite: safeft-44
per_category: 1
decodings: {{temperatures: [0]}}
judges: [keyword]
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The testbed in each form."""
    model, folder = Path(resolve("testbed:aligned").location), tmp_path_factory.mktemp("stored")
    return {form: str(quantised(model, form, folder / form)) for form in FORMS}


def test_a_quantised_checkpoint_is_known_by_its_config(stored: dict[str, str]) -> None:
    """And a plain one too."""
    assert all(map(is_quantised, stored.values()))
    assert not is_quantised("testbed:aligned")


@pytest.mark.parametrize(("form", "package"), [("gptq", "optimum"), ("awq", "gptqmodel")])
def test_what_transformers_lacks_is_named(stored: dict[str, str], form: str, package: str) -> None:
    """Neither package is among ours."""
    assert package in unreadable(stored[form])


def test_a_plain_model_lacks_nothing() -> None:
    """Its weights are read as they are."""
    assert unreadable("testbed:aligned") == ""


@pytest.mark.parametrize("place", ["model", "checkpoint"])
def test_another_engine_refuses_it_before_anything_is_asked(
    stored: dict[str, str], tmp_path: Path, place: str
) -> None:
    """With what is missing, and the engine that serves it."""
    text = MATRIX.format(model="testbed:aligned") + f"{place}: {stored['gptq']}\n"
    if place == "model":
        text = MATRIX.format(model=stored["gptq"])
    (tmp_path / "matrix.yaml").write_text(text)
    said = refused("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    assert "engine: Transformers cannot load" in said
    assert "optimum" in said
    assert "use `engine: vllm`" in said
    assert not (tmp_path / "run").exists()
