"""Laws of SafeMERGE: the weighted sum of two updates, exact whatever their ranks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from safeft.errors import ModelError
from safeft.training import check_targets, load_recipe
from safeft.training.methods.safe_merge import SafeMerge
from training.edits.conftest import Models, cosine, filtered

TARGETS = ["q_proj", "v_proj", "down_proj"]
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "equal ranks": ({}, {}),
    "unequal ranks": ({"r": 4}, {"r": 7, "lora_alpha": 3}),
    "rank-stabilised": ({"use_rslora": True}, {"r": 2}),
    "ranks by name": ({"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 2}}, {"r": 5}),
    "fewer modules": ({}, {"target_modules": ["q_proj"]}),
}


def edit(pair: Models, safety: Path, **settings: Any) -> SafeMerge:
    """SafeMERGE with the pair's base; a threshold of 1 takes every module."""
    given = {"base": str(pair.base), "safety_adapter": str(safety), "threshold": 1.0} | settings
    return SafeMerge(name="safe_merge", **given)


@pytest.mark.parametrize("case", CASES)
def test_merged_updates_are_the_weighted_sum(
    case: str, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """0.8 of the task's and 0.2 of the safety adapter's, with nothing approximated."""
    pair = models("qwen2")
    task, safety = (
        pair.adapter(f"{case} {seed}", seed=seed, **({"target_modules": TARGETS} | settings))
        for seed, settings in enumerate(CASES[case])
    )
    notes = edit(pair, safety).edit(task, tmp_path / "merged", str(pair.aligned))
    one, other, merged = (pair.updates(at) for at in (task, safety, tmp_path / "merged"))
    assert merged.keys() == one.keys()
    for name, update in merged.items():
        wanted = 0.8 * one[name] + 0.2 * other.get(name, torch.zeros_like(one[name]))
        torch.testing.assert_close(update, wanted, rtol=1e-4, atol=1e-7)
    assert notes["edited"] == len(one)
    assert notes["edited_without_a_safety_update"] == len(one.keys() - other.keys())


def test_only_modules_below_the_threshold_are_merged(llama: Models, tmp_path: Path) -> None:
    """The others keep the task's update, in the same rank: servers know one rank for all."""
    task = llama.adapter("task", target_modules=TARGETS)
    safety = llama.adapter("safety", seed=2, r=3, target_modules=TARGETS)
    one, other = llama.updates(task), llama.updates(safety)
    found = {name: cosine(filtered(llama.change(name), at), at) for name, at in one.items()}
    threshold = sorted(found.values())[2] + 1e-6
    made = edit(llama, safety, threshold=threshold, safety_weight=0.5)
    assert made.edit(task, tmp_path / "merged", str(llama.aligned))["edited"] == 3
    for name, update in llama.updates(tmp_path / "merged").items():
        below = found[name] <= threshold
        wanted = 0.5 * one[name] + 0.5 * other[name] if below else one[name]
        torch.testing.assert_close(update, wanted, rtol=1e-4, atol=1e-7)
    config = json.loads((tmp_path / "merged/adapter_config.json").read_text())
    assert config["r"] == 7 and not config["rank_pattern"] and not config["alpha_pattern"]
    shapes = llama.stored(tmp_path / "merged")
    assert {one.shape[0] for key, one in shapes.items() if "lora_A" in key} == {7}


def test_where_nothing_departs_nothing_changes(llama: Models, tmp_path: Path) -> None:
    """Below every cosine the task's adapter comes back byte by byte."""
    task = llama.adapter("kept", target_modules=TARGETS)
    safety = llama.adapter("unused", seed=2, target_modules=TARGETS)
    edit(llama, safety, threshold=-1.0).edit(task, tmp_path / "kept", str(llama.aligned))
    before, after = llama.stored(task), llama.stored(tmp_path / "kept")
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_dropping_needs_no_safety_adapter(llama: Models, tmp_path: Path) -> None:
    """The same modules without any update: what the merge is to be compared with."""
    task = llama.adapter("to drop", target_modules=TARGETS)
    made = SafeMerge(name="safe_merge", base=str(llama.base), threshold=1.0, then="drop")
    made.edit(task, tmp_path / "dropped", str(llama.aligned))
    assert not any(update.any() for update in llama.updates(tmp_path / "dropped").values())


def test_safety_adapters_that_do_not_fit_are_refused(
    llama: Models, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """None given, none there, DoRA, and one of another size."""
    with pytest.raises(ValidationError, match="safety_adapter is missing"):
        SafeMerge(name="safe_merge", base=str(llama.base))
    task = llama.adapter("fits", target_modules=["q_proj"])
    dora = llama.adapter("dora", target_modules=["q_proj"], use_dora=True)
    narrow = tmp_path / "narrow"
    _narrowed(task, narrow)
    for safety, said in ((tmp_path, "no adapter_config"), (dora, "DoRA"), (narrow, "32 × 32 in")):
        with pytest.raises(ModelError, match=said):
            edit(llama, safety).edit(task, tmp_path / "merged", str(llama.aligned))
    settings = [f"methods.0.base={llama.base}", f"methods.0.safety_adapter={narrow}"]
    with pytest.raises(ModelError, match="32 × 32 in the model and 32 × 16 in"):
        check_targets(load_recipe("safe_merge", settings), str(llama.aligned))
    whole = llama.adapter("whole", target_modules=["q_proj"], modules_to_save=["lm_head"])
    with pytest.raises(ModelError, match="holds 1 tensors beside LoRA"):
        edit(llama, whole).edit(task, tmp_path / "merged", str(llama.aligned))


def _narrowed(adapter: Path, target: Path) -> None:
    """The adapter as if its inputs were half as wide."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, target)
    path = target / "adapter_model.safetensors"
    cut = {key: one[:, :16] if "lora_A" in key else one for key, one in load_file(path).items()}
    save_file({key: one.contiguous() for key, one in cut.items()}, path)
