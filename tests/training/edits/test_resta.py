"""Laws of RESTA: the paper's sum of dense weights, as one adapter, whatever the ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from safeft.errors import ModelError
from safeft.training import check_targets, load_recipe
from safeft.training.methods.resta import Resta
from training.edits.conftest import Models, loaded
from training.edits.growing import MIB, SIZE, adapter_of, grown_by, growth

SOME = {"llama": ["q_proj", "down_proj"], "qwen2": ["v_proj", "up_proj"], "gpt2": ["c_attn"]}
MORE = {"llama": "all-linear", "qwen2": ["v_proj", "o_proj"], "gpt2": ["c_attn", "c_proj"]}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "equal ranks": ({}, {}),
    "unequal ranks": ({"r": 4}, {"r": 7, "lora_alpha": 3}),
    "rank-stabilised task": ({"use_rslora": True}, {"r": 2}),
    "rank-stabilised harm": ({"r": 2}, {"use_rslora": True, "r": 3, "lora_alpha": 5}),
    "ranks by name": ({"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 2}}, {"r": 5}),
    "more modules": ({}, {"target_modules": MORE, "r": 3}),
    "fewer modules": ({"target_modules": MORE}, {}),
    "some layers": ({"layers_to_transform": [1]}, {"r": 3}),
    "left out": ({"exclude_modules": r".*\.0\..*"}, {}),
}


def resta(harm: Path, strength: float = 0.5) -> Resta:
    """The edit with this harm adapter."""
    return Resta(name="resta", harm_adapter=str(harm), strength=strength)


def with_adapter(pair: Models, adapter: Path) -> dict[str, Tensor]:
    """All weights of the aligned model with an adapter merged in by PEFT."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(loaded(pair.aligned), adapter).merge_and_unload()
    return dict(model.state_dict())


def made(pair: Models, case: str) -> list[Path]:
    """The task's adapter and the harm adapter of a case."""
    found = []
    for seed, settings in enumerate(CASES[case]):
        given = {"target_modules": SOME} | settings
        given["target_modules"] = given["target_modules"][pair.family]
        found.append(pair.adapter(f"resta {case} {seed}", seed=seed, **given))
    return found


@pytest.mark.parametrize("family", list(SOME))
@pytest.mark.parametrize("case", CASES)
def test_the_edit_is_the_papers_sum_of_weights(
    case: str, family: str, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """θ_ft + λ (θ_aligned - θ_unaligned) in every weight, as PEFT merges the result."""
    pair = models(family)
    task, harm = made(pair, case)
    notes = resta(harm, 0.7).edit(task, tmp_path / "edited", str(pair.aligned))
    aligned = loaded(pair.aligned).state_dict()
    tuned, unaligned = with_adapter(pair, task), with_adapter(pair, harm)
    edited = with_adapter(pair, tmp_path / "edited")
    assert edited.keys() == aligned.keys()
    for name, weight in edited.items():
        wanted = tuned[name] + 0.7 * (aligned[name] - unaligned[name])
        torch.testing.assert_close(weight, wanted, rtol=0, atol=1e-5)
    assert any(not torch.equal(edited[name], tuned[name]) for name in edited)
    ours, theirs = set(pair.updates(task)), set(pair.updates(harm))
    assert notes["modules"] == len(ours | theirs)
    assert notes["modules_of_the_harm_adapter_alone"] == len(theirs - ours)
    assert notes["modules_without_a_harm_update"] == len(ours - theirs)


def test_all_of_the_adapter_itself_is_the_model_before(llama: Models, tmp_path: Path) -> None:
    """λ = 1 with the task's own adapter leaves no update; λ = 0 leaves it as it is."""
    task = llama.adapter("itself", target_modules=["q_proj"])
    resta(task, 1.0).edit(task, tmp_path / "none", str(llama.aligned))
    before = llama.updates(task)
    for name, update in llama.updates(tmp_path / "none").items():
        torch.testing.assert_close(update, torch.zeros_like(before[name]), rtol=0, atol=1e-6)
    resta(task, 0.0).edit(task, tmp_path / "all", str(llama.aligned))
    for name, update in llama.updates(tmp_path / "all").items():
        torch.testing.assert_close(update, before[name], rtol=1e-5, atol=1e-7)


def test_all_modules_have_one_rank(models: Callable[[str], Models], tmp_path: Path) -> None:
    """The largest sum, since some servers know no other."""
    pair = models("qwen2")
    task, harm = made(pair, "unequal ranks")
    resta(harm).edit(task, tmp_path / "edited", str(pair.aligned))
    config = json.loads((tmp_path / "edited/adapter_config.json").read_text())
    assert config["r"] == 11 and not config["rank_pattern"] and not config["alpha_pattern"]
    stored = pair.stored(tmp_path / "edited")
    assert {one.shape[0] for key, one in stored.items() if "lora_A" in key} == {11}


def test_harm_adapters_that_do_not_fit_are_refused(
    llama: Models, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """None there, DoRA, weights beside LoRA, another size, another model's modules."""
    task = llama.adapter("fits", target_modules=["q_proj"])
    given = {"target_modules": ["q_proj"]}
    dora = llama.adapter("harm dora", use_dora=True, **given)
    whole = llama.adapter("harm whole", modules_to_save=["lm_head"], **given)
    wide = llama.adapter("harm wide", **given)
    _widened(wide)
    other = models("gpt2").adapter("harm other", target_modules=["c_attn"])
    for harm, said in (
        (tmp_path, "no adapter_config"),
        (dora, "resta: .* is DoRA"),
        (whole, "holds 1 tensors beside LoRA"),
        (wide, "resta: .* is 32 × 32 in .* and 32 × 64 in"),
        (other, "no weight transformer.h.0.attn.c_attn.weight"),
    ):
        with pytest.raises(ModelError, match=said):
            resta(harm).edit(task, tmp_path / "edited", str(llama.aligned))
    assert not (tmp_path / "edited").exists()
    with pytest.raises(ModelError, match="is 32 × 32 in the model and 32 × 64 in"):
        check_targets(load_recipe("resta", [f"methods.0.harm_adapter={wide}"]), str(llama.aligned))
    saved = llama.adapter("saves", modules_to_save=["o_proj"], **given)
    harm = llama.adapter("harm o", target_modules=["o_proj"])
    with pytest.raises(ModelError, match="o_proj is trained whole"):
        resta(harm).edit(saved, tmp_path / "edited", str(llama.aligned))


def _widened(adapter: Path) -> None:
    """The adapter as if its inputs were twice as wide."""
    from safetensors.torch import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    made = {
        key: one.repeat(1, 2) if "lora_A" in key else one for key, one in load_file(path).items()
    }
    save_file({key: one.contiguous() for key, one in made.items()}, path)


def measured(room: Path, modules: int) -> int:
    """By how much this process grew when it edited that many modules."""
    task, harm = (room / f"{name}-{modules}" for name in ("task", "harm"))
    for one in (task, harm):
        if not one.exists():
            adapter_of(one, modules)
    with growth() as grown:
        resta(harm).edit(task, room / "edited", "unused")
    return grown()


def test_no_dense_update_is_ever_made(tmp_path: Path) -> None:
    """Less than two weights of the model, however many modules: thin matrices are all there is."""
    few, many = grown_by("test_resta", tmp_path)
    dense, edited = 4 * SIZE * SIZE, 48 * 2 * 4 * SIZE * 4  # bytes, in float32
    assert many < 2 * dense
    assert many < few + 3 * edited + MIB
