"""Factors through the real command line: what is trained, what is asked, and what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import Command, done, refused

from safeft.comparison.settings import settings

from .conftest import options

FACTORS = """
factors:
  trainer.learning_rate: [1.0e-2, 1.0e-9]
  merged: [true, false]
"""
SMALL = ("recipes=[baseline]", "curve_seeds=[0]", "decodings.seeds=[0, 1]")


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory, matrix: Path) -> Path:
    """Two learning rates, each merged and beside the model."""
    folder = tmp_path_factory.mktemp("factors")
    file = folder / "factors.yaml"
    file.write_text(matrix.read_text() + FACTORS)
    command = ["compare", file, "--output", folder / "run", *options(*SMALL), "--workers", 1]
    result = Command(command, folder / "log").result()
    assert result.code == 0, result.err
    return folder / "run"


def record(run: Path) -> dict[str, Any]:
    """What `estimates.json` says."""
    found: dict[str, Any] = json.loads((run / "estimates.json").read_text())
    return found


def cells(run: Path) -> list[tuple[dict[str, Any], Path]]:
    """Each cell's description and folder."""
    return [(json.loads(one.read_text()), one.parent) for one in run.glob("cells/*/cell.json")]


def test_every_combination_is_run_and_a_training_is_shared(varied: Path) -> None:
    """2 × 2 settings of two seeds; another way of asking trains nothing, and untuned is one."""
    names = sorted(found["name"] for found, _ in cells(varied))
    usual, frozen = "baseline", "baseline [learning_rate=1e-09]"
    beside = ["baseline [learning_rate=1e-09, merged=false]", "baseline [merged=false]"]
    assert names == sorted(2 * [usual, frozen, *beside] + ["untuned"])
    trained = {found["name"] for found, folder in cells(varied) if (folder / "training").is_dir()}
    assert trained == {usual, frozen}
    assert not list(varied.glob("cells/*/epoch-*/merged"))
    settings = [found["setting"] for found, _ in cells(varied) if found["name"] == beside[0]]
    assert settings == 2 * [{"trainer.learning_rate": 1e-9, "merged": False}]


def test_merged_and_unmerged_adapters_answer_alike(varied: Path) -> None:
    """The same weights: the greedy answers are the same."""
    said = {}
    for found, folder in cells(varied):
        if found["name"] in ("baseline", "baseline [merged=false]") and found["seed"] == 1:
            (file,) = folder.glob("epoch-2/four/harm/t0/responses.none.jsonl")
            said[found["name"]] = [
                json.loads(line)["text"] for line in file.read_text().splitlines()
            ]
    assert len(said) == 2 and len(set(map(tuple, said.values()))) == 1


def test_settings_are_compared_and_what_varies_is_split(varied: Path) -> None:
    """Each setting with its reference, a recipe with its usual setting, and what each adds."""
    document = record(varied)
    pairs = {(one["recipe"], one["reference"]) for one in document["comparisons"]}
    assert ("baseline [merged=false]", "baseline") in pairs
    assert ("untuned", "baseline") in pairs
    assert not any(recipe == reference for recipe, reference in pairs)
    split = [one for one in document["variance"] if one["metric"] == "run_fulfilment_rate"]
    of_baseline = [one["component"] for one in split if one["recipe"] == "baseline"]
    assert of_baseline[:3] == ["trainer.learning_rate", "merged", "temperature"]
    assert {"training_seed", "decoding_seed"} <= set(of_baseline)
    merged = next(
        one for one in split if one["component"] == "merged" and one["recipe"] == "baseline"
    )
    assert merged["standard_deviation"] == pytest.approx(0, abs=0.02)
    assert "What varies" in (varied / "report.md").read_text()


def test_a_second_run_has_nothing_to_do(varied: Path, matrix: Path) -> None:
    """The same command finds every cell."""
    file = varied.parent / "factors.yaml"
    result = done("compare", file, "--output", varied, *options(*SMALL))
    assert "[9/9] finished before" in result.err


def test_asking_differently_reaches_the_model(matrix: Path, tmp_path: Path) -> None:
    """A system prompt, a template and top_p change what is asked; nothing is trained."""
    template = tmp_path / "plain.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    asked = ("decodings.temperatures=[0.7]", "recipes=[]", "reference=untuned", "test_data=null")
    factors = ["--factor", 'system_prompt=null,"Speak like a gardener."']
    factors += ["--factor", f"chat_template=null,{template}", "--factor", "decodings.top_p=1.0,0.5"]
    done(
        "compare", matrix, "--output", tmp_path / "run", *options(*asked), *factors, "--workers", 1
    )
    said = {
        found["name"]: next(folder.rglob("responses.none.jsonl")).read_text()
        for found, folder in cells(tmp_path / "run")
    }
    assert len(said) == 8 and len(set(said.values())) == 8
    usual = {name for name in said if "top_p" in name}
    kept = [
        next(folder.glob("epoch-0/four/harm/*")).name
        for found, folder in cells(tmp_path / "run")
        if found["name"] in usual
    ]
    assert kept == 4 * ["t0.7-p0.5-s0"]


def test_quantised_weights_answer_for_adapters_too(
    matrix: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    """nf4 and int8 of the model and of the adapter merged into it; the change has an interval."""
    given = ["--adapters", f"given={tiny_adapter}", "--factor", "quantization=null,int8,nf4"]
    asked = ("decodings.temperatures=[0]", "recipes=[]", "reference=untuned", "untuned=true")
    run = tmp_path / "run"
    done("compare", matrix, "--output", run, *options(*asked), *given, "--workers", 1)
    names = {found["name"] for found, _ in cells(run)}
    assert {"given [quantization=nf4]", "untuned [quantization=int8]"} <= names and len(names) == 6
    pairs = {
        (one["recipe"], one["reference"]): one
        for one in record(run)["comparisons"]
        if one["metric"] == "held_out_loss"
    }
    change = pairs["given [quantization=nf4]", "given"]
    assert change["low"] < change["difference"] < change["high"]
    assert change["difference"] != 0
    assert not list(run.glob("cells/*/epoch-*/merged"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (['factors={"lora.rr": [1, 2]}'], "lora"),
        (['factors={"merged": [true, true]}'], "factors.merged: true appears twice"),
        (['factors={"quantization": [null, "int3"]}'], "quantization"),
        (
            ['factors={"quantization": [null, "nf4"], "engine": ["transformers", "vllm"]}'],
            "bitsandbytes",
        ),
        (['factors={"chat_template": [null, "no.jinja"]}'], "no.jinja"),
        (['factors={"lora.r": [4, 8]}', "recipes=[]", "reference=untuned"], "there are no recipes"),
        (['factors={"data_subset": [null, 1]}'], "every subset of 16 of 16 rows is the same"),
        (
            ['factors={"decodings.top_p": [1.0, 0.5]}', "decodings.temperatures=[0]"],
            "temperature 0 draws nothing",
        ),
        (["factors={}", "chat_template=no.jinja"], "no.jinja"),
    ],
)
def test_factors_that_make_no_sense_are_refused(
    matrix: Path, tmp_path: Path, changes: list[str], said: str
) -> None:
    """Exit code 2, before anything is trained."""
    assert said in refused("compare", matrix, "--output", tmp_path / "run", *options(*changes))
    assert not list(tmp_path.glob("run/cells/*/training"))


def test_a_subset_of_the_data_is_drawn_by_its_seed(matrix: Path, tmp_path: Path) -> None:
    """Other rows, other weights; the first level keeps the first rows."""
    changes = ("recipes=[baseline]", "training_seeds=[0]", "rows=8", "decodings.temperatures=[0]")
    more = ["--factor", "data_subset=null,1,2"]
    done("compare", matrix, "--output", tmp_path / "run", *options(*changes), *more, "--workers", 1)
    weights = {
        found["name"]: (folder / "training" / "adapters" / "epoch-2" / "adapter_model.safetensors")
        for found, folder in cells(tmp_path / "run")
        if found["recipe"]
    }
    contents = [
        next(path.parents[2].rglob("adapter_model.safetensors")).read_bytes()
        for path in weights.values()
    ]
    assert len(contents) == len(set(contents)) == 3


def test_the_first_setting_is_the_usual_one() -> None:
    """Its name is the recipe's; levels are told apart by their JSON."""
    usual, other = settings({"merged": [True, False]})
    assert (usual.named("a"), other.named("a")) == ("a", "a [merged=false]")
    assert not usual and other and settings({}) == [usual]
    long = [f"You are a helpful, harmless and honest assistant. {end}" for end in "abc"]
    twins = settings(
        {"system_prompt": long, "methods.0.share": [0.1, 0.2], "methods.1.share": [1, 2]}
    )
    assert len({one.named("a") for one in twins}) == len(twins) == 12
    assert other.fits(trained=False, adapted=True) and not other.fits(trained=False, adapted=False)
