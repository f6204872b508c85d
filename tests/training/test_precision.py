"""Laws of precision, kinds of LoRA, packing and micro-batches, without any method."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import done
from safetensors.torch import load_file

from safeft.models import load_model
from safeft.training.methods.kl_anchor import KLAnchor
from safeft.training.methods.lisa import Lisa
from safeft.training.methods.replay import Replay
from training.conftest import SMALL, Job, alike, take

WHOLE = {"per_device_train_batch_size": 8}
PARTS = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
KINDS = {
    "LoRA": SMALL,
    "DoRA": SMALL | {"use_dora": True},
    "rsLoRA": SMALL | {"use_rslora": True},
    "full": None,
}
METHODS = [
    KLAnchor(name="kl_anchor", on="task", weight=3.0),
    KLAnchor(name="kl_anchor", on="safety", weight=3.0, rows=4),
    Replay(name="replay", rows=4),
    Lisa(name="lisa", safety_steps=2, task_steps=3, rows=4),
]
IDS = torch.arange(3, 40)[None]


def adapter(output: Path, epoch: int = 2) -> Path:
    """The folder of an epoch."""
    return output / f"adapter/epoch-{epoch}"


def weights(output: Path) -> dict[str, Any]:
    """The tensors of the last epoch."""
    (found,) = adapter(output).glob("*.safetensors")
    return dict(load_file(found))


def logits(model: Any) -> Any:
    """What the model computes for some tokens."""
    with torch.inference_mode():
        return model(IDS).logits.float()


def loss_of(output: Path) -> list[float]:
    """The loss at each logged step."""
    return [one["loss"] for one in json.loads((output / "log.json").read_text()) if "loss" in one]


@pytest.mark.parametrize("kind", KINDS)
def test_eight_rows_are_four_times_two(fit: Callable[..., Any], kind: str) -> None:
    """Loss and gradients of a plain step do not depend on the micro-batches it is cut into."""
    whole = take(fit(work="whole", lora=KINDS[kind], **WHOLE), noise=0.05)
    alike(whole, take(fit(work="parts", lora=KINDS[kind], **PARTS), noise=0.05))


@pytest.mark.parametrize("more", [[], ["--set", "lora=null"]], ids=["LoRA", "full"])
def test_a_whole_training_does_not_depend_on_micro_batches(
    job: Job, tmp_path: Path, more: list[str]
) -> None:
    """Eight rows at once and four times two end with the same weights, up to rounding."""
    for name, given in (("whole", WHOLE), ("parts", PARTS)):
        sets = [word for key, n in given.items() for word in ("--set", f"trainer.{key}={n}")]
        # Adam divides by the gradient's size: at a tiny one, rounding decides the direction.
        sets += ["--set", "trainer.optim=sgd", "--set", "trainer.learning_rate=0.1"]
        done(*job.arguments(tmp_path / name, *more, *sets))
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[key], other[key], atol=1e-5) for key in one)
    assert not torch.equal(
        logits(load_model(str(job.model))), logits(tuned(job, tmp_path / "whole"))
    )


def tuned(job: Job, output: Path, **options: Any) -> Any:
    """The model with the last epoch's adapter."""
    return load_model(str(job.model), adapters=[adapter(output)], **options)


@pytest.mark.parametrize("packing", [{"packing": True}, {"padding_free": True}])
@pytest.mark.parametrize("kind", ["LoRA", "full"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_packed_rows_train_as_they_do_apart(
    fit: Callable[..., Any], packing: dict[str, Any], kind: str
) -> None:
    """The same loss and gradients, whether documents share a row or not."""
    apart = take(fit(work="apart", lora=KINDS[kind], **WHOLE), noise=0.05)
    packed = fit(work="packed", lora=KINDS[kind], **WHOLE, **packing)
    batch = next(iter(packed.get_train_dataloader()))
    assert (batch["position_ids"] == 0).sum() >= 8
    alike(apart, take(packed, noise=0.05), 1e-4)


@pytest.mark.parametrize("packing", [{"packing": True}, {"padding_free": True}])
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("method", METHODS, ids=lambda one: f"{one.name} {one.anchor}".strip())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_packed_rows_are_held_as_they_are_apart(
    fit: Callable[..., Any], packing: dict[str, Any], method: Any, number: int
) -> None:
    """Also where a step's safety rows, which are padded, stand beside or in the place of others."""
    apart = take(fit(method, work="apart", **WHOLE), noise=0.05, number=number)
    packed = take(fit(method, work="packed", **WHOLE, **packing), noise=0.05, number=number)
    alike(apart, packed, 1e-4)


@pytest.mark.parametrize("key", ["packing", "padding_free"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_packed_trainings_run_to_their_end(job: Job, tmp_path: Path, key: str) -> None:
    """Through the command line; an adapter for each epoch that changes the model."""
    done(*job.arguments(tmp_path / "run", "--set", f"trainer.{key}=true"))
    assert adapter(tmp_path / "run", 1).is_dir()
    before = logits(load_model(str(job.model)))
    assert not torch.equal(before, logits(tuned(job, tmp_path / "run")))


def test_bfloat16_trains_a_float32_adapter_beside_halved_weights(job: Job, tmp_path: Path) -> None:
    """The loss falls as in float32, to which it is near and not equal."""
    for precision in ("bfloat16", "float32"):
        sets = ["--set", f"precision={precision}", "--set", "trainer.logging_steps=1"]
        done(*job.arguments(tmp_path / precision, *sets))
    half, full = loss_of(tmp_path / "bfloat16"), loss_of(tmp_path / "float32")
    assert half[-1] < half[0] - 0.2
    assert half == pytest.approx(full, rel=0.05)
    assert half != full
    assert {one.dtype for one in weights(tmp_path / "bfloat16").values()} == {torch.float32}


@pytest.mark.parametrize(("key", "kind"), [("use_dora", "DoRA"), ("use_rslora", "rsLoRA")])
def test_dora_and_rslora_train_merge_and_reload(
    job: Job, tmp_path: Path, key: str, kind: str
) -> None:
    """They are what was asked for, and merged they compute what they do beside the weights."""
    done(*job.arguments(tmp_path / "run", "--set", f"lora.{key}=true"))
    config = json.loads((adapter(tmp_path / "run") / "adapter_config.json").read_text())
    assert config[key] is True
    named = [name for name in weights(tmp_path / "run") if "lora_magnitude_vector" in name]
    assert bool(named) == (kind == "DoRA")
    asked = [adapter(tmp_path / "run"), "--model", job.model, "--output", tmp_path / "merged"]
    done("export", *asked)
    beside = logits(tuned(job, tmp_path / "run", merge=False))
    assert torch.allclose(beside, logits(load_model(str(tmp_path / "merged"))), atol=1e-3)
    assert not torch.allclose(beside, logits(load_model(str(job.model))), atol=1e-2)
