"""Laws of Safe LoRA: thin matrices give what the paper's dense definition gives, by module name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import done, refused

from safeft.errors import ConfigError, ModelError, UserError
from safeft.training import check_targets, load_recipe
from safeft.training.methods.safe_lora import SafeLora
from training.conftest import Job
from training.edits.conftest import Models, cosine, filtered

WEIGHTS = "adapter_model.safetensors"
PATTERNS = {
    "rank_pattern": {"q_proj": 6, "layers.1.mlp.down_proj": 2},
    "alpha_pattern": {"down_proj": 3},
}
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped queries": ("llama", {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}),
    "biases": ("qwen2", {"target_modules": ["k_proj", "v_proj", "up_proj"], "bias": "all"}),
    "all but some": (
        "llama",
        {"target_modules": "all-linear", "exclude_modules": ["k_proj", "gate_proj"]},
    ),
    "a pattern": ("llama", {"target_modules": r".*\.1\..*\.(q_proj|down_proj)"}),
    "rank-stabilised": ("llama", {"target_modules": ["q_proj", "down_proj"], "use_rslora": True}),
    "ranks by name": ("llama", {"target_modules": ["q_proj", "down_proj"], **PATTERNS}),
    "embeddings": ("llama", {"target_modules": ["embed_tokens", "v_proj"]}),
    "weights kept whole": ("llama", {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]}),
    "stored the other way": ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_thin_matrices_equal_the_dense_definition(
    case: str, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """Of the half of least cosine the update becomes C ΔW to 1e-5; of the others it stays."""
    family, settings = ADAPTERS[case]
    pair = models(family)
    adapter = pair.adapter(case, **settings)
    before = pair.updates(adapter)
    projected = {name: filtered(pair.change(name), update) for name, update in before.items()}
    found = {name: cosine(projected[name], before[name]) for name in before}
    half = len(before) // 2
    edit = SafeLora(name="safe_lora", base=str(pair.base), number=half)
    notes = edit.edit(adapter, tmp_path / "edited", str(pair.aligned))
    chosen = sorted(found, key=lambda name: found[name])[:half]
    after = pair.updates(tmp_path / "edited")
    assert sorted(after) == sorted(before)
    for name, update in after.items():
        wanted = projected[name] if name in chosen else before[name]
        torch.testing.assert_close(update, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    lowest = [found[chosen[0]], found[chosen[-1]]]
    assert notes["cosines_of_edited"] == pytest.approx(lowest, abs=1e-4)
    assert (notes["modules"], notes["edited"]) == (len(before), half)


def test_what_is_no_update_goes_through_untouched(llama: Models, tmp_path: Path) -> None:
    """`modules_to_save` and every factor A keep their bytes; only the chosen B change."""
    settings = {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]}
    adapter = llama.adapter("saved", **settings)
    edit = SafeLora(name="safe_lora", base=str(llama.base), number=1)
    notes = edit.edit(adapter, tmp_path / "edited", str(llama.aligned))
    before, after = llama.stored(adapter), llama.stored(tmp_path / "edited")
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert len(changed) == 1 and changed[0].endswith("v_proj.lora_B.weight")
    assert notes["tensors_left_as_they_were"] == 1 and any("lm_head" in key for key in after)


def test_a_threshold_takes_all_at_or_below_it(llama: Models, tmp_path: Path) -> None:
    """At 1 every module, at -1 none; in between those whose dense cosine is at most τ."""
    adapter = llama.adapter("thresholds", target_modules=["q_proj", "v_proj", "down_proj"])
    before = llama.updates(adapter)
    found = [cosine(filtered(llama.change(name), one), one) for name, one in before.items()]
    middle = sorted(found)[2] + 1e-6
    for threshold, wanted in ((1.0, 6), (middle, 3), (-1.0, 0)):
        edit = SafeLora(
            name="safe_lora", base=str(llama.base), select="threshold", threshold=threshold
        )
        assert edit.edit(adapter, tmp_path / "edited", str(llama.aligned))["edited"] == wanted


def test_the_projection_onto_the_first_directions(llama: Models, tmp_path: Path) -> None:
    """`rank_k` equals U_k U_kᵀ ΔW from a dense decomposition, and applying it twice is once."""
    adapter = llama.adapter("directions", target_modules=["down_proj"])
    edit = SafeLora(name="safe_lora", base=str(llama.base), number=2, projector="rank_k", rank=5)
    once, twice = tmp_path / "once", tmp_path / "twice"
    edit.edit(adapter, once, str(llama.aligned))
    edit.edit(once, twice, str(llama.aligned))
    before, after, again = (llama.updates(one) for one in (adapter, once, twice))
    for name, update in before.items():
        basis = torch.linalg.svd(llama.change(name))[0][:, :5]
        torch.testing.assert_close(after[name], basis @ basis.T @ update, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(again[name], after[name], rtol=1e-4, atol=1e-7)


def test_dropping_takes_the_same_modules(llama: Models, tmp_path: Path) -> None:
    """`then: drop` removes the updates that `project` would have projected."""
    adapter = llama.adapter("dropped", target_modules=["q_proj", "v_proj"])
    before, changed = llama.updates(adapter), {}
    for then in ("project", "drop"):
        edit = SafeLora(name="safe_lora", base=str(llama.base), number=2, then=then)
        edit.edit(adapter, tmp_path / then, str(llama.aligned))
        after = llama.updates(tmp_path / then)
        changed[then] = {name for name in before if not torch.equal(before[name], after[name])}
        assert then == "project" or not any(after[name].any() for name in changed[then])
    assert changed["project"] == changed["drop"] and len(changed["drop"]) == 2


def test_every_module_is_logged(
    llama: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its cosine and how much of B is left, so that a projection that deletes is seen as one."""
    adapter = llama.adapter("logged", target_modules=["q_proj"])
    edit = SafeLora(name="safe_lora", base=str(llama.base), number=1)
    with caplog.at_level(logging.INFO, "safeft"):
        notes = edit.edit(adapter, tmp_path / "edited", str(llama.aligned))
    before, after = (llama.updates(one) for one in (adapter, tmp_path / "edited"))
    name = next(one for one in before if not torch.equal(before[one], after[one]))
    stored, made = llama.stored(adapter), llama.stored(tmp_path / "edited")
    key = f"base_model.model.{name}.lora_B.weight"
    left = float(made[key].norm() / stored[key].norm())
    assert notes["kept_norm"] == pytest.approx(left, abs=1e-4)
    assert any(f"{name}: cosine" in one and f"{left:.4f}, edited" in one for one in caplog.messages)
    assert len(caplog.messages) == 2


def test_half_precision_keeps_its_type(llama: Models, tmp_path: Path) -> None:
    """An adapter stored in bfloat16 is edited in float32 and stored as it was."""
    from safetensors.torch import save_file

    adapter = llama.adapter("half", target_modules=["q_proj"])
    whole = llama.stored(adapter)
    halved = {key: value.bfloat16() for key, value in whole.items()}
    save_file(halved, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    before = llama.updates(adapter)
    edit = SafeLora(name="safe_lora", base=str(llama.base), number=2)
    edit.edit(adapter, tmp_path / "edited", str(llama.aligned))
    kinds = {one.dtype for one in llama.stored(tmp_path / "edited").values()}
    assert kinds == {torch.bfloat16}
    for name, update in llama.updates(tmp_path / "edited").items():
        wanted = filtered(llama.change(name), before[name])
        torch.testing.assert_close(update, wanted, rtol=0, atol=0.01 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "is DoRA"),
        ({"init_lora_weights": "pissa"}, "began as pissa"),
        ({"lora_bias": True, "target_modules": ["q_proj"]}, "has lora_bias"),
    ],
)
def test_what_is_no_product_of_thin_matrices_is_refused(
    settings: dict[str, Any], said: str, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """By name, and nothing is written."""
    pair = models("qwen2")  # whose layers have the biases that `lora_bias` needs
    adapter = pair.adapter(said, **({"target_modules": ["q_proj"]} | settings))
    edit = SafeLora(name="safe_lora", base=str(pair.base))
    with pytest.raises(ModelError, match=said):
        edit.edit(adapter, tmp_path / "edited", str(pair.aligned))
    assert not list(tmp_path.iterdir())


def test_a_pair_that_does_not_fit_is_refused(
    llama: Models, models: Callable[[str], Models], tmp_path: Path
) -> None:
    """The same weights twice, another architecture, and another size, each with the cure."""
    adapter = llama.adapter("unfit", target_modules=["q_proj"])
    target, aligned = tmp_path / "edited", str(llama.aligned)
    with pytest.raises(ModelError, match="have the same weights"):
        SafeLora(name="safe_lora", base=aligned).edit(adapter, target, aligned)
    with pytest.raises(ModelError, match=r"no weight model.layers.0.self_attn.q_proj.weight"):
        SafeLora(name="safe_lora", base=str(models("gpt2").base)).edit(adapter, target, aligned)
    with pytest.raises(ModelError, match=r"has shape \(256, 256\), and the adapter's update"):
        SafeLora(name="safe_lora", base="testbed:base").edit(adapter, target, aligned)
    assert not target.exists()


def test_a_pair_that_does_not_fit_is_refused_before_training(
    llama: Models, models: Callable[[str], Models]
) -> None:
    """One model as both, another architecture, another size: nothing was trained yet."""
    aligned = str(llama.aligned)
    for base, said in (
        (aligned, "base and aligned are both"),
        (str(models("gpt2").base), "no weight model.layers.0"),
        ("testbed:base", r"has shape \(256, 256\), and the adapter's update"),
    ):
        for method in ("safe_lora", "asft_subspace"):
            recipe = load_recipe(method, [f"methods.0.base={base}"])
            with pytest.raises(UserError, match=said):
                check_targets(recipe, aligned)
    check_targets(load_recipe("safe_lora", [f"methods.0.base={llama.base}"]), aligned)


def test_without_a_base_it_says_why_it_needs_one(llama: Models, tmp_path: Path) -> None:
    """When the recipe is read, by its key, and in Python when it is used."""
    with pytest.raises(ConfigError, match=r"methods\.0\.base: missing; safe_lora compares"):
        load_recipe("safe_lora", ["methods.0.base=null"])
    adapter = llama.adapter("alone", target_modules=["q_proj"])
    with pytest.raises(ConfigError, match="base is missing, and only its difference"):
        SafeLora(name="safe_lora").edit(adapter, tmp_path / "edited", str(llama.aligned))


def test_a_recipe_edits_every_epoch(
    job: Job, tiny_llama: Callable[..., Any], tmp_path: Path
) -> None:
    """Through the command line: each epoch's adapter is what the edit makes of the plain one."""
    tiny_llama(seed=5).save_pretrained(tmp_path / "base")
    edit = {"name": "safe_lora", "base": str(tmp_path / "base"), "number": 2}
    done(*job.arguments(tmp_path / "plain"))
    done(*job.arguments(tmp_path / "run", "--set", f"methods=[{json.dumps(edit)}]"))
    facts = json.loads((tmp_path / "run/train.json").read_text())
    for epoch in ("epoch-1", "epoch-2"):
        plain, made = (tmp_path / one / "adapter" / epoch for one in ("plain", "run"))
        notes = SafeLora(**edit).edit(plain, tmp_path / "again", str(job.model))
        weights = [(at / WEIGHTS).read_bytes() for at in (made, tmp_path / "again", plain)]
        assert weights[0] == weights[1] != weights[2]
        assert facts["methods"]["safe_lora"][epoch] == notes
    absent = json.dumps(edit | {"base": str(tmp_path)})
    said = refused(*job.arguments(tmp_path / "other", "--set", f"methods=[{absent}]"))
    assert "no *.safetensors" in said and not (tmp_path / "other/log.json").exists()


def test_two_edits_that_pick_modules_are_refused_together() -> None:
    """The second would judge what the first has left."""
    methods = "[{name: safe_lora, base: b}, {name: safe_merge, base: b, safety_adapter: s}]"
    with pytest.raises(ConfigError, match="safe_lora and safe_merge both pick the modules"):
        load_recipe("baseline", [f"methods={methods}"])
