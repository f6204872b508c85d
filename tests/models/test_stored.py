"""Laws of checkpoints that come quantised: known by their config, refused where none reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation.bbq import row
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


@pytest.fixture
def with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where vLLM is installed: what is refused here is refused before it is imported."""
    for place in ("rules", "local"):
        monkeypatch.setattr(f"safeft.comparison.{place}.installed", lambda engine: None)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("merged: true\nadapters: {{given: [{adapter}]}}", "merged: Transformers cannot load"),
        ("bias: {bias}", "bias: Transformers cannot load"),
    ],
)
def test_what_vllm_does_not_do_for_it_is_refused(
    stored: dict[str, str],
    tiny_adapter: Path,
    tmp_path: Path,
    with_vllm: None,
    more: str,
    words: str,
) -> None:
    """Merging and likelihoods are Transformers', also under `engine: vllm`."""
    bias = tmp_path / "bbq.jsonl"
    bias.write_text(json.dumps(row()) + "\n")
    text = MATRIX.format(model="testbed:aligned") + f"checkpoint: {stored['awq']}\nengine: vllm\n"
    (tmp_path / "matrix.yaml").write_text(text + more.format(adapter=tiny_adapter, bias=bias))
    said = refused("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    assert words in said and "gptqmodel" in said


def test_quantised_weights_are_not_trained(
    stored: dict[str, str], tmp_path: Path, with_vllm: None
) -> None:
    """The plain model is, and the quantised one asked in its place."""
    text = MATRIX.format(model=stored["gptq"]).replace("recipes: []", "recipes: [baseline]")
    text = text.replace("reference: untuned", "data: garden\nrows: 8\nengine: vllm\nworkers: 1")
    (tmp_path / "matrix.yaml").write_text(text)
    said = refused("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    assert "recipes: Transformers cannot train" in said and "as `checkpoint`" in said
