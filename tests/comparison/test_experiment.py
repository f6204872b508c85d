"""The source paper's experiment: the shipped file, with a tiny model and a local server in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoint import Server, serving
from processes import Command, done, refused

from safeft.assets import read_yaml
from safeft.comparison.experiment import Experiment, comparisons_of

from .conftest import options

FILE = Path(__file__).parents[2] / "benchmarks" / "fraser2025.yaml"


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this machine in GPT-4o-mini's place."""
    pytest.importorskip("openai")
    with serving() as made:
        yield made


def test_the_file_states_the_experiment_whole() -> None:
    """Two models on two sets, an API model as it is; seeds, epochs, temperatures, bits, judges."""
    found = comparisons_of(read_yaml(FILE, Experiment))
    trained = [
        f"{model}-{data}" for model in ("llama_1b", "mistral_7b") for data in ("dolly", "alpaca")
    ]
    assert list(found) == [*trained, "gpt_4o_mini"]
    for name in trained:
        matrix = found[name]
        assert matrix.recipe_names() == ["baseline", "self_generated"]
        assert matrix.training_seeds == matrix.curve_seeds == [0, 1, 2, 3, 4]
        assert matrix.set == ["trainer.num_train_epochs=5"]
        assert matrix.factors == {"quantization": [None, "int8", "nf4"]}
        assert "@" in matrix.model and "@" in (matrix.data or "")
    for matrix in found.values():
        assert matrix.decodings.temperatures == [0, 0.7] and len(matrix.decodings.seeds) == 5
        assert matrix.judges == ["sorry-bench", "toxicity"]
        assert matrix.suite == "sorry-bench-2025-03"
    assert found["gpt_4o_mini"].remote and not found["gpt_4o_mini"].recipes


def test_the_same_file_runs_small(
    matrix: Path, tiny_model: Path, server: Server, tmp_path: Path
) -> None:
    """Every comparison, one page that links them; again: nothing to do."""
    rows = {"data": str(matrix.parent / "rows.jsonl"), "test_rows": 4}
    changes = [
        f"models.llama_1b.model={tiny_model}",
        f"models.mistral_7b.model={tiny_model}",
        "models.mistral_7b.factors={}",
        f"models.gpt_4o_mini.engine={server.url}",
        f"data={json.dumps({'dolly': rows})}",
        f"shared.suite={matrix.parent / 'four.yaml'}",
        "shared.judges=[keyword, toxicity]",
        "shared.training_seeds=[0]",
        "shared.curve_seeds=[0]",
        "shared.decodings.seeds=[0]",
        "shared.workers=1",
        "shared.set=[trainer.num_train_epochs=1, trainer.per_device_train_batch_size=8]",
        "shared.per_category=1",
    ]
    command = ["compare", FILE, "--output", tmp_path / "run", *options(*changes)]
    result = Command(command, tmp_path / "log").result()
    assert result.code == 0, result.err
    page = (tmp_path / "run" / "report.md").read_text()
    for name in ("llama_1b-dolly", "mistral_7b-dolly", "gpt_4o_mini"):
        assert f"{name}/report.md" in page
        assert (tmp_path / "run" / name / "estimates.json").is_file()
    assert "baseline \\[quantization=nf4]" in page or "baseline [quantization=nf4]" in page
    assert "GPT-4o-mini is asked as it is" in page and "toxicity" in page
    asked = sum(server.seen.values())
    assert asked > 0
    done(*command)
    assert sum(server.seen.values()) == asked


def test_a_mistake_in_one_comparison_stops_all_before_anything_is_trained(tmp_path: Path) -> None:
    """The comparison and the key are named."""
    file = tmp_path / "two.yaml"
    one = "model: testbed:aligned, data: garden, rows: 4, recipes: [baseline]"
    file.write_text(f"title: T\nmodels:\n  good: {{{one}}}\n  bad: {{{one}, training_seed: 1}}\n")
    said = refused("compare", file, "--output", tmp_path / "run")
    assert "comparison bad" in said and "training_seed" in said and "did you mean" in said
    assert not (tmp_path / "run").exists()
