"""Laws of AsFT: thin matrices give the dense penalty on real adapters, once for a step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import refused
from safetensors.torch import load_file, save_file

from safeft.errors import ConfigError, ModelError
from safeft.training.edits.layers import layers
from safeft.training.methods import Context, Setup, Step
from safeft.training.methods.asft_subspace import AsftSubspace
from training.conftest import Job, Taken, alike, take
from training.edits import conftest as pairs
from training.edits.test_safe_lora import ADAPTERS

models = pairs.models
WHOLE = {"per_device_train_batch_size": 8}
CUT = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}


def method(pair: pairs.Models, **values: Any) -> AsftSubspace:
    """The method with both models of a pair."""
    named = {"base": str(pair.base), "aligned": str(pair.aligned)}
    return AsftSubspace(name="asft_subspace", **(named | values))


def tuned(pair: pairs.Models, adapter: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The aligned model with the adapter, as it is trained."""
    from peft import PeftModel

    aligned = pairs.loaded(pair.aligned).to(dtype)
    return PeftModel.from_pretrained(aligned, adapter, is_trainable=True)


def penalty(model: Any, made: AsftSubspace, name: str = "") -> Any:
    """What the term adds to the loss of a step of one part."""
    setup = Setup(
        model=model,
        tokenizer=None,
        rows=[],
        encode=lambda _: pytest.fail("the penalty reads no rows"),
        seed=0,
        work=Path("unused"),
        context=Context("unused", lambda: pytest.fail("nor writes any"), Path("unused")),
        batch_size=8,
        autocast=nullcontext,
        name=name,
    )
    step = Step(model, {}, None, 0, 1, False, 0, 1, 1.0, 1.0, 1.0)
    return made.term(setup)(step, torch.zeros(()))


def dense(pair: pairs.Models, model: Any) -> Any:
    """Σ ‖ΔW − C ΔW‖², from PEFT's own update and the whole matrix C, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            short = name.removeprefix("base_model.model.")
            update = module.get_delta_weight("default").double()
            update = update.T if pair._turned(short) else update
            total = total + (update - pairs.filtered(pair.change(short), update)).square().sum()
    return total


@pytest.mark.parametrize("case", ADAPTERS)
def test_thin_matrices_equal_the_dense_definition(
    case: str, models: Callable[[str], pairs.Models]
) -> None:
    """The value to 1e-5, and the gradient of every factor, for all that PEFT can adapt so."""
    family, settings = ADAPTERS[case]
    pair = models(family)
    model = tuned(pair, pair.adapter(f"asft {case}", **settings))
    found, wanted = penalty(model, method(pair, weight=3.0)), 3 * dense(pair, model)
    assert wanted.item() > 0
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    factors = {name: one for name, one in model.named_parameters() if "lora_" in name}
    ours = torch.autograd.grad(found, list(factors.values()))
    theirs = torch.autograd.grad(wanted, list(factors.values()))
    for name, one, other in zip(factors, ours, theirs, strict=True):
        size = float(other.abs().max())
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * size, msg=name)
        assert size > 0, name


def test_it_is_far_from_the_published_codes_where_lora_scales(
    models: Callable[[str], pairs.Models],
) -> None:
    """α/r counts twice: an adapter of twice the alpha has four times the penalty."""
    pair, found = models("llama"), []
    for alpha in (4, 8):
        settings = {"target_modules": ["v_proj"], "lora_alpha": alpha}
        found.append(
            float(penalty(tuned(pair, pair.adapter(f"a{alpha}", **settings)), method(pair)))
        )
    assert found[1] == pytest.approx(4 * found[0], rel=1e-5)


def test_in_bfloat16_the_change_is_held_in_bfloat16(models: Callable[[str], pairs.Models]) -> None:
    """Half of the memory, and the penalty to bfloat16's rounding."""
    pair = models("llama")
    adapter = pair.adapter("half", target_modules=["q_proj", "down_proj"])
    model = tuned(pair, adapter, torch.bfloat16)
    found = penalty(model, method(pair))
    assert float(found) == pytest.approx(float(dense(pair, model)), rel=0.01)
    saved = {one.dtype for one in tensors_of(found.grad_fn) if one.dim() == 2 and one.numel() > 999}
    assert saved == {torch.bfloat16}


def tensors_of(node: Any) -> list[Any]:
    """What autograd keeps for a backward pass."""
    kept, seen, waiting = [], set(), [node]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.add(one)
        kept += [value for key in dir(one) if key.startswith("_saved_")
                 and isinstance(value := getattr(one, key), torch.Tensor)]  # fmt: skip
        waiting += [before for before, _ in one.next_functions]
    return kept


def test_what_alignment_left_alone_is_free(
    models: Callable[[str], pairs.Models], tmp_path: Path
) -> None:
    """A module whose weight is the same in both has no part; none at all is an error."""
    pair = models("llama")
    partly = shutil.copytree(pair.aligned, tmp_path / "partly")
    changed = "model.layers.0.self_attn.v_proj"
    for path in partly.glob("*.safetensors"):
        tensors = load_file(path)
        if f"{changed}.weight" in tensors:
            tensors[f"{changed}.weight"] += 0.02
            save_file(tensors, path, metadata={"format": "pt"})
    other = pairs.Models("llama", partly, pair.aligned, tmp_path)
    model = tuned(pair, pair.adapter("values", target_modules=["v_proj"]))
    found = penalty(model, method(other))
    alone = model.base_model.model.get_submodule(changed).get_delta_weight("default").double()
    left = alone - pairs.filtered(other.change(changed), alone)
    assert float(found) == pytest.approx(float(left.square().sum()), rel=1e-5)
    with pytest.raises(ModelError, match="have the same weights wherever the adapter"):
        penalty(model, method(other, base=str(pair.aligned)))


def test_the_aligned_model_is_the_tuned_one_by_default(
    models: Callable[[str], pairs.Models],
) -> None:
    """By the name that it was asked for; without any there is nothing to compare."""
    pair = models("llama")
    model = tuned(pair, pair.adapter("default", target_modules=["v_proj"]))
    alone = method(pair, aligned=None)
    assert penalty(model, alone, str(pair.aligned)).equal(penalty(model, method(pair)))
    with pytest.raises(ConfigError, match="name both models"):
        penalty(model, alone)


def test_a_convolution_is_refused_by_name() -> None:
    """Its factors are no thin matrices."""
    from peft import LoraConfig, get_peft_model

    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2))
    model = get_peft_model(plain, LoraConfig(r=2, target_modules=["0"]))
    with pytest.raises(ModelError, match="asft_subspace: 0 has factors of shape"):
        list(layers(model, "asft_subspace"))


@pytest.fixture
def tiny_pair(tiny_llama: Callable[..., Any], tmp_path: Path) -> pairs.Models:
    """The model that `fit` trains, and one before its alignment."""
    aligned = tiny_llama()
    aligned.save_pretrained(tmp_path / "aligned")
    with torch.no_grad():
        for one in aligned.parameters():
            one -= 0.02 * torch.randn(one.shape, generator=torch.Generator().manual_seed(5))
    aligned.save_pretrained(tmp_path / "base")
    return pairs.Models("llama", tmp_path / "base", tmp_path / "aligned", tmp_path)


@pytest.mark.parametrize("cut", [WHOLE, CUT], ids=["eight", "four times two"])
def test_it_counts_once_for_a_step(
    fit: Callable[..., Any], tiny_pair: pairs.Models, cut: dict[str, int]
) -> None:
    """λ times the dense penalty is added to loss and gradient, however the step is cut."""
    plain = take(fit(work="plain", **cut), noise=0.1)
    trainer = fit(method(tiny_pair, weight=0.5), **cut)
    held = take(trainer, noise=0.1)
    wanted = 0.5 * dense(tiny_pair, trainer.model)
    named = dict(trainer.model.named_parameters())
    pulls = torch.autograd.grad(wanted, [named[name] for name in plain.gradients])
    moves = {
        name: one + pull.float()
        for (name, one), pull in zip(plain.gradients.items(), pulls, strict=True)
    }
    assert float(wanted) > 0.1
    alike(held, Taken(plain.loss + wanted.detach().float(), moves), 1e-4)


def test_before_training_it_is_zero(fit: Callable[..., Any], tiny_pair: pairs.Models) -> None:
    """B begins as zero, and so do the penalty and its gradient."""
    alike(take(fit(work="plain", **WHOLE)), take(fit(method(tiny_pair), **WHOLE)), 0)


def test_the_update_stays_smaller_outside(fit: Callable[..., Any], tiny_pair: pairs.Models) -> None:
    """Training with more of it ends with less of what it measures."""
    left = []
    for weight in (0.0, 1.0, 10.0):
        trainer = fit(method(tiny_pair, weight=weight), work=f"of-{weight}", num_train_epochs=4)
        trainer.train()
        left.append(float(dense(tiny_pair, trainer.model)))
    assert left[0] > 1.2 * left[1] > 1.4 * left[2]


def test_a_pair_that_does_not_fit_stops_before_training(
    job: Job, tiny_llama: Callable[..., Any], tmp_path: Path
) -> None:
    """Both models and the module are named, and no step was taken."""
    tiny_llama(hidden_size=32).save_pretrained(tmp_path / "narrow")
    named = f"methods=[{{name: asft_subspace, base: {tmp_path / 'narrow'}}}]"
    said = refused(*job.arguments(tmp_path / "run", "--set", named))
    assert "narrow" in said and "q_proj has shape" in said
    assert not list(tmp_path.glob("run/checkpoints/*"))
    absent = refused(*job.arguments(tmp_path / "other", "--set", "methods=[{name: asft_subspace}]"))
    assert "methods.0.base: missing; asft_subspace compares the aligned model" in absent
