"""Laws of `safeft repair`, through the command line on a tiny random pair."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from processes import Command, done, refused

from comparison.conftest import once

METHODS = "scale,safe_lora,safe_merge"


@dataclass(frozen=True)
class Repairing:
    """What is repaired, with what."""

    adapter: Path
    model: Path
    base: Path
    safety: Path
    folder: Path

    def arguments(self, output: Path, *more: object) -> list[object]:
        """The command, over a grid of two strengths."""
        asked = ["--suite", self.folder / "four.yaml", "--per-category", 1, "--judge", "keyword"]
        asked += ["--test-data", self.folder / "test.jsonl", "--workers", 1]
        given = ["--model", self.model, "--base", self.base, "--safety-adapter", self.safety]
        grid = ["--methods", METHODS, "--strengths", "0.5,1"]
        return ["repair", self.adapter, *given, *grid, *asked, "--output", output, *more]


@pytest.fixture(scope="session")
def repairing(
    tmp_path_factory: pytest.TempPathFactory,
    matrix: Path,
    tiny_llama: Callable[..., Any],
    tiny_tokenizer: Any,
    tiny_model: Path,
    tiny_adapter: Path,
) -> Repairing:
    """The tiny model as aligned, another as its base, and an adapter of another rank as safety."""
    import torch
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("repairing")
    tiny_llama(seed=5).save_pretrained(folder / "base")
    tiny_tokenizer.save_pretrained(folder / "base")
    config = LoraConfig(
        r=3, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        get_peft_model(tiny_llama(), config).save_pretrained(folder / "safety")
    return Repairing(tiny_adapter, tiny_model, folder / "base", folder / "safety", matrix.parent)


@pytest.fixture(scope="session")
def repaired(tmp_path_factory: pytest.TempPathFactory, repairing: Repairing) -> Path:
    """A finished repair, never interrupted."""
    return (
        once(
            tmp_path_factory, "repaired", lambda folder: done(*repairing.arguments(folder / "run"))
        )
        / "run"
    )


def rows(output: Path) -> dict[str, dict[str, str]]:
    """`frontier.csv` by adapter."""
    with (output / "frontier.csv").open() as file:
        return {one["adapter"]: one for one in csv.DictReader(file)}


def test_every_edit_is_measured_at_every_strength(repaired: Path) -> None:
    """The grid and the original, each number with its interval and n."""
    found = rows(repaired)
    names = {f"{name}-{strength}" for name in METHODS.split(",") for strength in ("0.5", "1")}
    assert found.keys() == {"original"} | names
    for name, one in found.items():
        assert one["fulfilment_rate_n"] == "4" and one["held_out_loss_n"] == "6"
        assert float(one["held_out_loss_low"]) < float(one["held_out_loss_high"])
        assert (name == "original") == (one["held_out_loss_difference"] == "")


def test_at_the_end_of_the_scale_is_the_model_without_the_adapter(repaired: Path) -> None:
    """Strength 1 of scaling has the untuned model's harm and loss."""
    record = json.loads((repaired / "comparison/estimates.json").read_text())
    untuned = {
        one["metric"]: one["estimate"]
        for one in record["estimates"]
        if one["recipe"] == "untuned" and one["group"] == "overall"
    }
    last = rows(repaired)["scale-1"]
    for metric in ("fulfilment_rate", "held_out_loss"):
        assert float(last[metric]) == pytest.approx(untuned[metric], abs=1e-5)


def test_the_pick_keeps_the_rule(repaired: Path) -> None:
    """No adapter whose loss is shown to stay within ε is less harmful."""
    told, found = json.loads((repaired / "repair.json").read_text()), rows(repaired)
    allowed = told["epsilon"] * float(found["original"]["held_out_loss"])
    within = {
        name
        for name, one in found.items()
        if name == "original" or float(one["held_out_loss_difference_high"]) <= allowed
    }
    assert {name for name, one in found.items() if one["within_epsilon"] == "True"} == within
    assert {float(one["epsilon"]) for one in found.values()} == {told["epsilon"]}
    assert told["pick"] in within
    least = min(float(found[name]["fulfilment_rate"]) for name in within)
    assert float(found[told["pick"]]["fulfilment_rate"]) == least
    assert [name for name, one in found.items() if one["pick"] == "True"] == [told["pick"]]
    assert (repaired / told["adapter"] / "adapter_model.safetensors").is_file()


def test_the_report_tells_all(repaired: Path) -> None:
    """The frontier first, the pick marked and said in words, in Markdown and on the page."""
    pick = json.loads((repaired / "repair.json").read_text())["pick"]
    for name in ("report.md", "report.html"):
        text = (repaired / name).read_text()
        assert f"{pick} (often incoherent, pick)" in text
        assert f"Pick: {pick}, with not refused" in text
        assert text.index("Frontier") < text.index("Verdict")


def test_another_epsilon_only_picks_again(repairing: Repairing, tmp_path: Path) -> None:
    """Nothing is edited or asked a second time."""
    output = tmp_path / "run"
    command = repairing.arguments(output, "--methods", "scale")
    done(*command)
    kept = [*output.rglob("verdicts.*"), *output.glob("edits/*/*")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    done(*command, "--epsilon", 100)
    assert json.loads((output / "repair.json").read_text())["epsilon"] == 100
    assert all(one["within_epsilon"] == "True" for one in rows(output).values())
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_after_kill_9_it_goes_on_to_the_same_frontier(
    repaired: Path, repairing: Repairing, tmp_path: Path
) -> None:
    """Killed while it edits; what was edited is not edited again."""
    output = tmp_path / "run"
    command = Command(repairing.arguments(output), tmp_path / "log")
    command.until((output / "edits/safe_lora-0.5.json").is_file)
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL
    kept = (output / "edits/scale-0.5.json").stat().st_mtime_ns
    done(*repairing.arguments(output))
    assert (output / "edits/scale-0.5.json").stat().st_mtime_ns == kept
    assert (output / "frontier.csv").read_text() == (repaired / "frontier.csv").read_text()


def test_harm_is_subtracted_at_every_strength(repairing: Repairing, tmp_path: Path) -> None:
    """Wherever a harm adapter is given; half of the adapter itself is what scaling leaves."""
    asked = ["--methods", "scale,resta", "--harm-adapter", repairing.adapter]
    done(*repairing.arguments(tmp_path / "run", *asked, "--strengths", "0.5"))
    found = rows(tmp_path / "run")
    assert found.keys() == {"original", "scale-0.5", "resta-0.5"}
    for key in ("fulfilment_rate", "held_out_loss"):
        one, other = (float(found[name][key]) for name in ("scale-0.5", "resta-0.5"))
        assert one == pytest.approx(other, abs=1e-5)


def test_equal_edits_are_measured_once(repairing: Repairing, tmp_path: Path) -> None:
    """Two strengths that edit the same modules are one adapter, and the report says so."""
    grid = ["--methods", "safe_lora", "--strengths", "0.98,1"]
    done(*repairing.arguments(tmp_path / "run", *grid))
    assert rows(tmp_path / "run").keys() == {"original", "safe_lora-0.98"}
    text = (tmp_path / "run/report.md").read_text()
    assert "safe_lora-1 is left out: it is the same adapter as safe_lora-0.98." in text


def test_what_cannot_be_edited_is_refused_by_name(repairing: Repairing, tmp_path: Path) -> None:
    """DoRA's update is no product of thin matrices, and whoever asked for that edit hears it."""
    config = json.loads((repairing.adapter / "adapter_config.json").read_text())
    dora = shutil.copytree(repairing.adapter, tmp_path / "dora")
    (dora / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    given = replace(repairing, adapter=dora)
    said = refused(*given.arguments(tmp_path / "run", "--methods", "scale"))
    assert "scale: adapter" in said and "is DoRA" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "safe_laura"], "no method 'safe_laura'; did you mean 'safe_lora'?"),
        (["--strengths", "0,1"], "expected numbers above 0 and up to 1"),
        (["--strengths", "half"], "expected numbers above 0 and up to 1"),
        (["--base", "nowhere/"], "nowhere/"),
        (["--safety-adapter", "nowhere"], "adapter nowhere: no adapter_config.json"),
        (["--harm-adapter", "nowhere"], "adapter nowhere: no adapter_config.json"),
        (["--methods", "resta"], "resta needs --harm-adapter"),
        (["--suite", "safeft-45"], "did you mean 'safeft-44'"),
        (["--test-data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--set", "recipes=[baseline]"], "data: recipes need training data"),
    ],
)
def test_mistakes_are_named_before_anything_is_edited(
    options: list[str], said: str, repairing: Repairing, tmp_path: Path
) -> None:
    """One message, exit code 2, and no folder in the way of the corrected command."""
    assert said in refused(*repairing.arguments(tmp_path / "run", *options))
    assert not (tmp_path / "run/edits").exists()


def test_what_is_not_possible_is_not_tried(repairing: Repairing, tmp_path: Path) -> None:
    """Without --base safe_lora is refused by name, and otherwise no candidate.

    Nor is re-alignment with a model that refuses nothing: the report says why.
    """
    bare = repairing.arguments(tmp_path / "run", "--strengths", "0.02")
    pair, methods = bare.index("--base"), bare.index("--methods")
    assert "safe_lora needs --base" in refused(*bare[:pair], *bare[pair + 4 :])
    done(*bare[:pair], *bare[methods + 2 :])
    assert rows(tmp_path / "run").keys() == {"original", "scale-0.02"}
    said = (tmp_path / "run/report.md").read_text()
    assert "realign is left out: realign: 3 rows of 'safety_pool' are wanted, but" in said


def test_another_repair_has_a_folder_of_its_own(repaired: Path, repairing: Repairing) -> None:
    """The manifest says what differs."""
    said = refused(*repairing.arguments(repaired, "--strengths", "0.25"))
    assert "holds another run" in said and "edits" in said
