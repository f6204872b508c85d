"""Laws of QLoRA: LoRA trains beside weights in few bits, resumes, and is told apart."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Command, done, refused, stall_at_first_checkpoint
from safetensors.torch import load_file

from safeft.errors import ConfigError
from safeft.models import load_model
from safeft.models.quantized import KINDS
from safeft.training import Recipe, check_arguments, load_recipe
from safeft.training.methods.constrained import Constrained
from safeft.training.methods.ema import Ema
from safeft.training.methods.kl_anchor import KLAnchor
from safeft.training.methods.replay import Replay
from safeft.training.methods.safegrad import SafeGrad
from safeft.training.writers import local_writer
from training.conftest import RECIPE, SMALL, Job, alike, moved, take

bitsandbytes = pytest.importorskip("bitsandbytes")

WEIGHTS = "adapter_model.safetensors"
WHOLE = {"per_device_train_batch_size": 8}


def quantised(recipe: Job, folder: Path, kind: str, more: str = "") -> Job:
    """The small job beside weights of this kind."""
    path = folder / f"{kind}.yaml"
    path.write_text(f"{RECIPE}quantization: {kind}\n{more}")
    return Job(path, recipe.data, recipe.model)


def adapters(output: Path) -> list[bytes]:
    """The bytes of each epoch's adapter."""
    return [path.read_bytes() for path in sorted(output.glob(f"adapter/epoch-*/{WEIGHTS}"))]


@pytest.mark.parametrize("kind", KINDS)
def test_lora_trains_beside_weights_in_few_bits(job: Job, tmp_path: Path, kind: str) -> None:
    """The loss falls; record and card say beside what; the adapter fits the full weights too."""
    mine = quantised(job, tmp_path, kind)
    done(*mine.arguments(tmp_path / "run", "--set", "trainer.logging_steps=1"))
    log = json.loads((tmp_path / "run/log.json").read_text())
    losses = [one["loss"] for one in log if "loss" in one]
    assert losses[-1] < losses[0] - 0.2
    facts = json.loads((tmp_path / "run/train.json").read_text())
    assert facts["recipe"]["quantization"] == kind
    last = tmp_path / "run/adapter/epoch-2"
    card = (last / "README.md").read_text()
    assert f"trained beside that model in {kind} (bitsandbytes)" in card
    assert "evaluate what you ship" in card

    ids = torch.arange(3, 40)[None]
    said = {}
    for name, options in {
        "as trained": {"merge": False, "quantization": kind},
        "merged": {},
        "before": {"quantization": kind},
    }.items():
        used: list[Path] = [] if name == "before" else [last]
        with torch.inference_mode():
            model = load_model(str(job.model), adapters=used, **options)
            said[name] = model(ids).logits.float()
    # Merged into the weights in full, it is another model than the one that was trained.
    assert not torch.allclose(said["as trained"], said["merged"], atol=1e-3)
    assert not torch.allclose(said["as trained"], said["before"], atol=1e-2)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_after_kill_9_the_same_command_ends_with_the_same_weights(
    job: Job, tmp_path: Path, kind: str
) -> None:
    """To the bit, for each epoch: what resumes trains in the precision of what was killed."""
    mine = quantised(job, tmp_path, kind, "methods: [{name: ema, decay: 0.5}]\n")
    for name, sets in (("ema", []), ("plain", ["--set", "methods=[]"])):
        output = tmp_path / f"{name}-killed"
        asked = mine.arguments(output, *sets)
        command = Command(asked, tmp_path / f"log-{name}", stall_at_first_checkpoint)
        command.until((output / "cost.partial.json").is_file)
        assert command.send(signal.SIGKILL).code == -signal.SIGKILL
        done(*asked)
        done(*mine.arguments(tmp_path / f"{name}-whole", *sets))
        assert len(adapters(output)) == 2
        assert adapters(output) == adapters(tmp_path / f"{name}-whole")
    assert adapters(tmp_path / "ema-whole") != adapters(tmp_path / "plain-whole")


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize(
    "method",
    [
        Constrained(name="constrained"),
        Constrained(name="constrained", reference="each_step"),
        KLAnchor(name="kl_anchor", weight=0.0),
        Replay(name="replay", weight=0.0, rows=4, batch=6),
    ],
    ids=["once", "each_step", "kl_anchor", "replay"],
)
def test_anchors_compare_with_the_quantised_model_and_leave_its_gradient(
    fit: Callable[..., Any], tiny_model: Path, kind: str, method: Any
) -> None:
    """At the start nothing has moved, so that an anchor changes neither loss nor gradient.

    A pass of the reference in evaluation mode would have bitsandbytes pack the weights for good,
    and cut the gradient of the layers below.
    """
    made = {
        name: take(
            fit(
                *used,
                work=name,
                weights=load_model(str(tiny_model), quantization=kind),
                lora=SMALL | {"lora_dropout": 0.0},
                **WHOLE,
            )
        )
        for name, used in (("plain", ()), ("anchored", (method,)))
    }
    plain, anchored = made["plain"], made["anchored"]
    assert torch.allclose(plain.loss, anchored.loss, atol=1e-2)
    assert any(float(one.abs().max()) > 0 for one in plain.gradients.values())
    for name, gradient in plain.gradients.items():
        other, scale = anchored.gradients[name].float(), gradient.float().abs().max()
        assert (other - gradient.float()).abs().max() <= 0.05 * scale + 1e-4, name


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_the_pull_of_safety_rows_leaves_the_models_gradient(
    fit: Callable[..., Any], tiny_model: Path, kind: str
) -> None:
    """It reaches every trained matrix, and the task's gradient is what it is without."""
    method = SafeGrad(name="safegrad", rows=4, batch=4)
    found = []
    for name, used in (("plain", ()), ("pulled", (method,))):
        weights = load_model(str(tiny_model), quantization=kind)
        trainer = fit(*used, work=name, weights=weights, lora=SMALL | {"lora_dropout": 0.0})
        moved(trainer.model, 0.05)
        for corrector in trainer.correctors.values() if used else ():
            pull = corrector.surgery.pull(0)
            assert all(bool(one.any()) for one in pull)
        found.append(take(trainer))
    alike(*found)


def test_layers_are_found_without_a_trace(job: Job, tmp_path: Path) -> None:
    """To the bit: a model that was looked at trains as one whose layers were named."""
    mine, layers, used = quantised(job, tmp_path, "nf4"), "find", []
    for name in ("found", "named"):
        method = f"{{name: freeze_layers, layers: {layers}}}"
        done(*mine.arguments(tmp_path / name, "--set", f"methods=[{method}]"))
        facts = json.loads((tmp_path / name / "train.json").read_text())
        layers = str(facts["methods"]["freeze_layers"]["layers"])
        used.append(adapters(tmp_path / name))
    assert used[0] == used[1]


def test_a_reference_has_the_models_bits(fit: Callable[..., Any], tiny_model: Path) -> None:
    """With its adapter switched off the model is the quantised one, and no other."""
    from safeft.training.methods.reference import before_training

    quantised = load_model(str(tiny_model), quantization="nf4")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        alone = load_model(str(tiny_model), quantization="nf4").train()(ids).logits
        full = load_model(str(tiny_model))(ids).logits
        model = fit(weights=quantised).model.train()
        moved(model, 0.1)
        tuned = model(ids).logits
        with before_training(model):
            reference = model(ids).logits
    assert torch.allclose(reference, alone, atol=1e-4), (reference - alone).abs().max()
    assert not torch.allclose(reference, tuned, atol=1e-2)
    assert not torch.allclose(reference, full, atol=1e-2)


def test_an_average_moves_where_bfloat16_would_stand_still(
    fit: Callable[..., Any], tiny_model: Path
) -> None:
    """A hundredth of the way at each step, though the trained weights are in bfloat16."""
    weights = load_model(str(tiny_model), quantization="nf4")
    trainer = fit(Ema(name="ema", decay=0.99), weights=weights)
    trained = {name: one for name, one in trainer.model.named_parameters() if one.requires_grad}
    assert {one.dtype for one in trained.values()} == {torch.bfloat16}
    (average,) = trainer.keepers.values()
    before = {name: value.clone() for name, value in average.state().items()}
    moved(trainer.model, 0.01)
    average.on_step_end(None, None, None)
    for name, one in trained.items():
        assert torch.allclose(average.state()[name], before[name].lerp(one.float(), 0.01))


def test_what_the_model_writes_is_known_by_its_bits(tiny_model: Path) -> None:
    """Two recipes share texts only where the same weights wrote them."""
    recipes = [
        Recipe(name="one", lora={"r": 4}, quantization=kind) for kind in (None, "nf4", "int8")
    ]
    named = [local_writer(recipe, str(tiny_model)).identity for recipe in recipes]
    assert len(set(named)) == 3
    assert named[1] == f"{named[0]} in nf4"
    assert "quantization" not in recipes[0].model_dump(mode="json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["quantization=nf5"], "did you mean 'nf4'?"),
        (["quantization=nf4", "lora=null"], "weights in nf4 cannot be trained themselves"),
        (["quantization=int8", "lora.init_lora_weights=pissa"], "writes into the model's own"),
        (["quantization=int8", "lora.init_lora_weights=loftq"], "writes into the model's own"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_read(changes: list[str], said: str) -> None:
    """With the key and the reason."""
    with pytest.raises(ConfigError, match=said) as caught:
        load_recipe("baseline", changes)
    assert "quantization" in str(caught.value)


def test_without_bitsandbytes_it_is_named(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a model is loaded, for training and for asking."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    said = refused(*quantised(job, tmp_path, "nf4").arguments(tmp_path / "run"))
    assert "quantization: nf4 needs bitsandbytes: pip install bitsandbytes" in said
    with pytest.raises(ConfigError, match="needs bitsandbytes"):
        load_model(str(job.model), quantization="int8")
    check_arguments(load_recipe("baseline"))


def test_an_adapter_that_was_trained_so_is_stored_as_it_was_trained(
    job: Job, tmp_path: Path
) -> None:
    """In bfloat16, as TRL trains it; the average of it too."""
    mine = quantised(job, tmp_path, "nf4")
    for name, methods in (("plain", "[]"), ("ema", "[{name: ema, decay: 0.5}]")):
        done(*mine.arguments(tmp_path / name, "--set", f"methods={methods}"))
        stored = load_file(tmp_path / name / "adapter/epoch-2" / WEIGHTS)
        assert {one.dtype for one in stored.values()} == {torch.bfloat16}
