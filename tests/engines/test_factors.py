"""The engine and the checkpoint as factors of a comparison, on the real vLLM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from processes import done
from quantised import quantised

pytest.importorskip("vllm", reason="make test-engines installs vLLM and runs these")

from safeft.comparison.settings import told
from safeft.models import resolve

MATRIX = """
model: testbed:aligned
vllm: {{max_model_len: 1024}}
recipes: []
reference: untuned
adapters: {{tuned: [{adapter}]}}
suite: safeft-44
per_category: 1
decodings: {{temperatures: [0]}}
judges: [keyword]
workers: 1
"""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training of the testbed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    short = ("trainer.num_train_epochs=6", "trainer.learning_rate=1e-2", "trainer.warmup_steps=0")
    sets = [word for one in short for word in ("--set", one)]
    data = ["--data", "garden", "--rows", 32, "--seed", 0, "--output", folder]
    done("train", "baseline", "--model", "testbed:aligned", *data, *sets)
    return folder / "adapter/epoch-6"


def refusals(run: Path) -> dict[tuple[str, str], float]:
    """The refusal rate by recipe (with its setting) and engine."""
    document = json.loads((run / "estimates.json").read_text())
    return {
        (one["recipe"], one["engine"]): one["estimate"]
        for one in document["estimates"]
        if one["metric"] == "refusal_rate" and one["group"] == "overall"
    }


@pytest.fixture
def four_bits() -> None:
    """vLLM's build for processors without AVX-512 has no kernel for weights of four bits."""
    from vllm.platforms import current_platform

    current_platform.import_kernels()
    if not current_platform.is_cpu() or hasattr(torch.ops._C, "cpu_gemm_wna16"):
        return
    pytest.skip("this processor has no AVX-512, which vLLM's four-bit kernels need")


def test_the_engine_is_a_factor(adapter: Path, tmp_path: Path) -> None:
    """The same adapter under both: each rate names its engine, and greedily they nearly agree."""
    text = MATRIX.format(adapter=adapter) + "factors: {engine: [transformers, vllm]}\n"
    (tmp_path / "matrix.yaml").write_text(text)
    done("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    found = refusals(tmp_path / "run")
    assert set(found) == {
        ("untuned", "transformers"),
        ("tuned", "transformers"),
        ("untuned [engine=vllm]", "vllm"),
        ("tuned [engine=vllm]", "vllm"),
    }
    for name in ("untuned", "tuned"):
        assert abs(found[name, "transformers"] - found[f"{name} [engine=vllm]", "vllm"]) <= 0.05
    assert found["tuned", "transformers"] < found["untuned", "transformers"]


def test_a_checkpoint_answers_in_the_models_place(adapter: Path, tmp_path: Path) -> None:
    """By its name, under vLLM: another checkpoint's rates are another model's."""
    export = ["export", adapter, "--model", "testbed:aligned", "--merge"]
    done(*export, "--output", tmp_path / "merged")
    text = MATRIX.format(adapter=adapter).replace(f"adapters: {{tuned: [{adapter}]}}\n", "")
    text += f"engine: vllm\nfactors: {{checkpoint: [null, {tmp_path}/merged]}}\n"
    (tmp_path / "matrix.yaml").write_text(text)
    done("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    found = {name: rate for (name, _), rate in refusals(tmp_path / "run").items()}
    assert len(found) == 2
    (other,) = set(found) - {"untuned"}
    assert other.startswith("untuned [checkpoint=")
    assert found[other] < found["untuned"]


@pytest.mark.usefixtures("four_bits")
def test_quantised_checkpoints_answer_by_name(adapter: Path, tmp_path: Path) -> None:
    """GPTQ's and AWQ's forms of the testbed, an adapter beside them: the change has an interval.

    Rounded to four bits they refuse nearly as the model does, and the adapter still undoes it.
    FP8 is not here: vLLM multiplies it on accelerators and on CPUs with AMX alone.
    """
    model = Path(resolve("testbed:aligned").location)
    made = [str(quantised(model, form, tmp_path / form)) for form in ("gptq", "awq")]
    text = MATRIX.format(adapter=adapter) + "test_data: garden_test\ntest_rows: 4\nengine: vllm\n"
    text += f"factors: {{checkpoint: [null, {', '.join(made)}]}}"
    (tmp_path / "matrix.yaml").write_text(text)
    done("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    found = {name: rate for (name, _), rate in refusals(tmp_path / "run").items()}
    assert len(found) == 6
    for one in map(told, made):
        usual, changed = found["untuned"], found[f"untuned [checkpoint={one}]"]
        assert abs(changed - usual) <= 0.15
        assert found[f"tuned [checkpoint={one}]"] < changed - 0.2
    document = json.loads((tmp_path / "run/estimates.json").read_text())
    against = {(one["recipe"], one["reference"]) for one in document["comparisons"]}
    assert {(f"untuned [checkpoint={told(one)}]", "untuned") for one in made} <= against
    losses = {one["recipe"] for one in document["estimates"] if one["metric"] == "held_out_loss"}
    assert losses == {"untuned", "tuned"}
    assert any("no held-out loss" in note for note in document["notes"])
