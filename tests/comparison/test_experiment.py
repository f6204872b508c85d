"""The source paper's experiment: the shipped file, with the testbed and a local server in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from checkpoints import cache, fit, random_model, save, tokenizer_of
from endpoint import Server, serving
from evaluation.copies import copy
from families import FAMILIES
from processes import Command, done, refused

from safeft.assets import find, folder, read_yaml
from safeft.comparison.experiment import Experiment, comparisons_of
from safeft.evaluation.sorry_bench import REPOSITORIES
from safeft.judges.gold import read_gold
from safeft.judges.schema import JudgeFile

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


def offline(hub: str) -> None:
    """From here on nothing but this cache of the Hub is within reach."""
    import huggingface_hub.constants as hubs

    hubs.HF_HUB_CACHE, hubs.HF_HUB_OFFLINE = hub, True


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds what the file names on the Hub beside models and training data.

    SORRY-Bench's files with harmless texts, and for its official judge a tiny Mistral that has
    learnt the gold cases: both at the commits that the shipped YAMLs pin.
    """
    place = tmp_path / "hub"
    family, cases = FAMILIES["sorry-bench"], read_gold(str(folder("eval/judges") / "gold.jsonl"))
    tokenizer = tokenizer_of(family, cases)
    model = random_model(family, tokenizer)
    fit(family, model, tokenizer, cases)
    repository = save(family, model, tokenizer, tmp_path / "judge")
    cache(repository, *read_yaml(find("eval/judges", "sorry-bench"), JudgeFile).model.split("@"),
          place)  # fmt: skip
    name = REPOSITORIES["2025-03"].replace("/", "--")
    suite = find("eval/suites", "sorry-bench-2025-03").read_text()
    commit = suite.partition("revision: ")[2].split()[0]
    copy(place / f"datasets--{name}" / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return place


def rows(kind: str) -> Iterator[dict[str, Any]]:
    """Questions and answers under the columns of Dolly, or of Alpaca."""
    names = ("context", "response") if kind == "dolly" else ("input", "output")
    for n in range(20):
        row = {"instruction": f"How is plant {n} grown?"}
        yield row | dict(zip(names, ("", f"Water plant {n} twice a week."), strict=True))


def test_the_same_file_runs_small(hub: Path, server: Server, tmp_path: Path) -> None:
    """Every comparison, one page that links them; again: nothing to do.

    Suite, judges, recipes, temperatures and bits are the file's; docs/fraser2025.md says what is
    in whose place.
    """
    for kind in ("dolly", "alpaca"):
        lines = "".join(json.dumps(row) + "\n" for row in rows(kind))
        (tmp_path / f"{kind}.jsonl").write_text(lines)
    changes = [
        *(f"models.{name}.model=testbed:aligned" for name in ("llama_1b", "mistral_7b")),
        "models.mistral_7b.factors={}",
        f"models.gpt_4o_mini.engine={server.url}",
        *(f"data.{name}.data={tmp_path / name}.jsonl" for name in ("dolly", "alpaca")),
        *(f"data.{name}.test_rows=4" for name in ("dolly", "alpaca")),
        "shared.set=[trainer.num_train_epochs=2]",
        *(f"shared.{key}=[0]" for key in ("training_seeds", "curve_seeds", "decodings.seeds")),
        "shared.suite_set=[max_new_tokens=8, sets.harm.limit=8, sets.lookalikes.limit=4]",
        "shared.workers=1",
    ]
    command = ["compare", FILE, "--output", tmp_path / "run", *options(*changes)]
    result = Command(command, tmp_path / "log", partial(offline, str(hub))).result()
    assert result.code == 0, result.err
    page = (tmp_path / "run" / "report.md").read_text()
    trained = [f"{model}-{kind}" for model in ("llama_1b", "mistral_7b")
               for kind in ("dolly", "alpaca")]  # fmt: skip
    for name in (*trained, "gpt_4o_mini"):
        assert f"| [{name}]({name}/report.md) |" in page
        estimates = json.loads((tmp_path / "run" / name / "estimates.json").read_text())
        found = {(one["judge"], one["temperature"]) for one in estimates["estimates"]}
        assert {(one, t) for one in ("sorry-bench", "toxicity") for t in (0, 0.7)} <= found
        epochs = {one["epoch"] for one in estimates["estimates"]}
        assert epochs == ({0, 1, 2} if name in trained else {0})
        assert "sorry-bench/sorry-bench-202503@" in estimates["provenance"]["suite"]
    for bits in ("int8", "nf4"):
        assert f"baseline [quantization={bits}]" in page.replace("\\", "")
    assert "GPT-4o-mini is asked as it is" in page
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
