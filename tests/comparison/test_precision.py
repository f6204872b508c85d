"""What ships: adapters of quantised training merged and quantised, and full fine-tunes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from processes import Command, done, refused

from .conftest import options

ONE = ("training_seeds=[0, 1]", "curve_seeds=[]", "decodings.temperatures=[0]")
TRAINED = (
    *("trainer.num_train_epochs=1", "trainer.per_device_train_batch_size=4"),
    "trainer.warmup_steps=0",
)


def record(run: Path) -> dict[str, Any]:
    """What `estimates.json` says."""
    found: dict[str, Any] = json.loads((run / "estimates.json").read_text())
    return found


def cells(run: Path) -> list[tuple[dict[str, Any], Path]]:
    """Each cell's description and folder."""
    return [(json.loads(one.read_text()), one.parent) for one in run.glob("cells/*/cell.json")]


def test_what_ships_of_qlora_is_compared_with_what_was_trained(
    matrix: Path, tmp_path: Path
) -> None:
    """Beside the 4-bit weights it trained with, merged into all bits, and quantised anew."""
    pytest.importorskip("bitsandbytes")
    sets = f"set=[{', '.join(TRAINED)}, quantization=nf4]"
    changes = options(*ONE, sets, "recipes=[baseline]", "untuned=false")
    factors = ["--factor", "quantization=nf4,null", "--factor", "merged=false,true"]
    run = tmp_path / "run"
    command = ["compare", matrix, "--output", run, *changes, *factors, "--workers", 1]
    result = Command(command, tmp_path / "log").result()
    assert result.code == 0, result.err
    beside, whole = "baseline [quantization=none]", "baseline [quantization=none, merged=true]"
    anew = "baseline [merged=true]"
    assert {found["name"] for found, _ in cells(run)} == {"baseline", beside, whole, anew}
    assert {found["recipe"]["quantization"] for found, _ in cells(run)} == {"nf4"}
    trained = [folder for _, folder in cells(run) if (folder / "training").is_dir()]
    assert len(trained) == 2

    for metric in ("fulfilment_rate", "refusal_rate", "held_out_loss"):
        pairs = {
            (one["recipe"], one["reference"]): one
            for one in record(run)["comparisons"]
            if one["metric"] == metric
        }
        for setting in (whole, anew):
            change = pairs[setting, "baseline"]
            assert change["low"] <= change["difference"] <= change["high"]
            assert metric != "held_out_loss" or change["difference"] != 0
    report = (run / "report.md").read_text().replace("\\", "")
    assert whole in report and anew in report


def test_full_fine_tunes_are_recipes_and_adapters_like_others(matrix: Path, tmp_path: Path) -> None:
    """Trained in a comparison, asked with few bits, and given to another as an adapter."""
    pytest.importorskip("bitsandbytes")
    sets = f"set=[{', '.join(TRAINED)}, lora=null]"
    changes = options(*ONE, "training_seeds=[0]", sets, "recipes=[baseline]")
    run = tmp_path / "run"
    factor = ["--factor", "quantization=null,int8"]
    command = ["compare", matrix, "--output", run, *changes, *factor, "--workers", 1]
    result = Command(command, tmp_path / "log").result()
    assert result.code == 0, result.err
    named = {found["name"]: folder for found, folder in cells(run)}
    assert {"baseline", "baseline [quantization=int8]", "untuned"} <= set(named)
    (whole,) = named["baseline"].glob("training/adapter/epoch-1")
    assert (whole / "model.safetensors").is_file()
    assert not list(run.rglob("merged"))

    again = tmp_path / "again"
    asked = options("recipes=[]", "reference=untuned", "decodings.temperatures=[0]")
    given = ["--adapters", f"given={whole}", "--workers", 1]
    done("compare", matrix, "--output", again, *asked, *given)

    def said(folder: Path) -> list[str]:
        (file,) = folder.glob("epoch-*/four/harm/t0/responses.none.jsonl")
        return [json.loads(line)["text"] for line in file.read_text().splitlines()]

    theirs = {found["name"]: folder for found, folder in cells(again)}
    assert said(theirs["given"]) == said(named["baseline"]) != said(named["untuned"])


def test_a_checkpoint_that_would_not_answer_is_refused(
    matrix: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """A full fine-tune has weights of its own; those of the checkpoint would be ignored."""
    whole = shutil.copytree(tiny_model, tmp_path / "whole")
    changes = options("recipes=[]", "reference=untuned", f"checkpoint={tiny_model}")
    said = refused(
        *["compare", matrix, "--output", tmp_path / "run", *changes],
        *["--adapters", f"given={whole}"],
    )
    assert "checkpoint: 'given' is a full fine-tune" in said
