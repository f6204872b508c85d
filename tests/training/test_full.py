"""Laws of full fine-tuning: whole models where adapters would lie, and what needs an adapter."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Command, done, refused, stall_at_first_checkpoint
from safetensors.torch import load_file

from safeft.comparison.calibrating import Asked
from safeft.errors import ConfigError
from safeft.models import load_model, load_tokenizer
from safeft.serve.local import local_writer
from safeft.training import load_recipe
from safeft.training.methods.ema import Ema
from safeft.training.methods.lisa import Lisa
from safeft.training.methods.replay import Replay
from training.conftest import RECIPE, REFUSAL, Job, alike, take

WEIGHTS = "model.safetensors"
FULL = RECIPE.replace("lora: {r: 4, lora_alpha: 8, target_modules: [q_proj, v_proj]}", "lora: null")
POOLED = "rows: 4, responses: curated, pool: {pool}, lookalike_pool: {benign}"
METHODS = {
    "plain": "[]",
    "ema and ptst": "[{{name: ema, decay: 0.5}}, {{name: ptst}}]",
    "lisa": "[{{name: lisa, safety_steps: 1, task_steps: 2, free_share: 0.0, " + POOLED + "}}]",
    "stored references": "[{{name: constrained}}, {{name: replay, batch: 3, " + POOLED + "}}]",
}


@pytest.fixture
def full(tmp_path: Path, job: Job) -> Callable[..., Job]:
    """The small job with all weights trained, and these methods."""
    for name, answer in (("pool", REFUSAL), ("benign", "Here is how.")):
        rows = [
            {"prompt": f"{name} {n}?", "category": str(n), "response": answer} for n in range(6)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(methods: str = "plain", model: Path = job.model) -> Job:
        pools = {name: str(tmp_path / f"{name}.jsonl") for name in ("pool", "benign")}
        path = tmp_path / "full.yaml"
        path.write_text(FULL + f"methods: {METHODS[methods].format(**pools)}\n")
        return Job(path, job.data, model)

    return make


def models(output: Path) -> list[Path]:
    """Each epoch's folder."""
    return sorted(output.glob("adapter/epoch-*"))


def logits(model: Any) -> Any:
    """What the model computes for some tokens."""
    with torch.inference_mode():
        return model(torch.arange(3, 40)[None]).logits.float()


def test_each_epoch_is_a_whole_model(full: Callable[..., Job], tmp_path: Path) -> None:
    """Every weight has moved; the folder is a model by itself, and stands in the model's place."""
    mine = full()
    done(*mine.arguments(tmp_path / "run"))
    first, last = models(tmp_path / "run")
    before, after = (load_file(one / WEIGHTS) for one in (mine.model, last))
    assert before.keys() == after.keys()
    assert not [key for key in before if torch.equal(before[key], after[key])]
    assert (first / WEIGHTS).read_bytes() != (last / WEIGHTS).read_bytes()
    alone = logits(load_model(str(last)))
    assert torch.equal(alone, logits(load_model(str(mine.model), adapters=[last])))
    assert torch.equal(alone, logits(load_model(str(mine.model), adapters=[last], merge=False)))
    assert not torch.allclose(alone, logits(load_model(str(mine.model))), atol=1e-2)
    theirs, ours = (load_tokenizer(str(one)) for one in (mine.model, last))
    said = [{"role": "user", "content": "Plant 3?"}]
    shown = (one.apply_chat_template(said, tokenize=False) for one in (theirs, ours))
    assert next(shown) == next(shown)
    card = (last / "README.md").read_text()
    assert "Full fine-tune (a whole model, all weights trained) of" in card
    assert "library_name: transformers" in card
    assert not list(last.glob("optimizer*")) and not list(last.glob("training_args*"))


@pytest.mark.parametrize("methods", METHODS)
def test_after_kill_9_the_same_command_ends_with_the_same_weights(
    full: Callable[..., Job], tmp_path: Path, methods: str
) -> None:
    """To the bit, for each epoch; and a method has changed the weights at all."""
    mine, output = full(methods), tmp_path / "killed"
    command = Command(mine.arguments(output), tmp_path / "log", stall_at_first_checkpoint)
    command.until((output / "cost.partial.json").is_file)
    assert command.send(signal.SIGKILL).code == -signal.SIGKILL
    done(*mine.arguments(output))
    done(*mine.arguments(tmp_path / "whole"))
    found = [(one / WEIGHTS).read_bytes() for one in models(output)]
    assert found == [(one / WEIGHTS).read_bytes() for one in models(tmp_path / "whole")]
    assert len(found) == 2
    if methods != "plain":
        done(*mine.arguments(tmp_path / "plain", "--set", "methods=[]"))
        assert found[1] != (models(tmp_path / "plain")[1] / WEIGHTS).read_bytes()


def test_an_average_has_the_names_of_tied_weights(
    full: Callable[..., Job], tiny_llama: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """Embedding and head are one weight: both are the average, or the model answers as neither."""
    for folder in (tmp_path / "tied",):
        tiny_llama(tie_word_embeddings=True).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
    mine = full("ema and ptst", tmp_path / "tied")
    done(*mine.arguments(tmp_path / "run", "--set", "methods.0.decay=0.0"))
    done(*mine.arguments(tmp_path / "plain", "--set", "methods=[]"))
    done(*mine.arguments(tmp_path / "slow", "--set", "methods.0.decay=0.999999"))
    ends = {name: logits(load_model(str(models(tmp_path / name)[1]))) for name in ("run", "plain")}
    # An average without memory is the last weights; one that hardly moves is the model before.
    assert torch.allclose(ends["run"], ends["plain"], atol=1e-5)
    slow = logits(load_model(str(models(tmp_path / "slow")[1])))
    assert torch.allclose(slow, logits(load_model(str(tmp_path / "tied"))), atol=1e-3)


def test_arithmetic_in_bfloat16_trains_weights_in_float32(
    full: Callable[..., Job], tmp_path: Path
) -> None:
    """Steps that bfloat16 would round away arrive."""
    small = ["trainer.learning_rate=1e-6", "trainer.weight_decay=0.0", "trainer.logging_steps=1"]
    for precision in ("bfloat16", "float32"):
        sets = [word for one in [*small, f"precision={precision}"] for word in ("--set", one)]
        done(*full().arguments(tmp_path / precision, *sets))
    before, after = (
        load_file(one / WEIGHTS) for one in (full().model, models(tmp_path / "bfloat16")[1])
    )
    assert {one.dtype for one in after.values()} == {torch.float32}
    key = "model.layers.0.mlp.up_proj.weight"
    moved = (before[key] - after[key]).abs()
    assert float((moved > 0).float().mean()) > 0.9
    assert float(moved.max()) < 1e-4
    logs = [(tmp_path / one / "log.json").read_text() for one in ("bfloat16", "float32")]
    half, whole = ([one["loss"] for one in json.loads(log) if "loss" in one] for log in logs)
    assert half == pytest.approx(whole, rel=0.02)
    assert half != whole


def test_whole_models_are_exported_evaluated_and_served_like_adapters(
    full: Callable[..., Job], tmp_path: Path
) -> None:
    """Merged, a full fine-tune is a copy whose template says what the recipe had said."""
    done(*full("ema and ptst").arguments(tmp_path / "run"))
    last, model = models(tmp_path / "run")[1], full().model
    asked = ["export", last, "--model", model, "--output"]
    done(*asked, tmp_path / "merged")
    done(*asked, tmp_path / "half", "--precision", "bfloat16")
    done(*asked, tmp_path / "copy", "--copy")
    for name in ("merged", "copy"):
        assert (tmp_path / name / WEIGHTS).read_bytes() == (last / WEIGHTS).read_bytes()
    assert {one.dtype for one in load_file(tmp_path / "half" / WEIGHTS).values()} == {
        torch.bfloat16
    }
    for loaded in (
        local_writer(str(model), str(last))._model,
        Asked(str(model), str(last)).loaded()[0],
    ):
        assert torch.equal(logits(loaded), logits(load_model(str(last))))
    Asked(str(model), str(last)).check()
    prompt = json.loads((last / "inference.json").read_text())["system_prompt"]
    said = [{"role": "user", "content": "Plant 3?"}]
    for one in (
        load_tokenizer(str(tmp_path / "merged")),
        load_tokenizer(str(model), adapters=[last]),
    ):
        assert prompt in one.apply_chat_template(said, tokenize=False)


def test_one_of_another_size_is_refused_by_name(
    full: Callable[..., Job], tiny_llama: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """By loading, exporting and evaluating alike; so is one that stands behind an adapter."""
    other = tmp_path / "other"
    tiny_llama(intermediate_size=96).save_pretrained(other)
    tiny_tokenizer.save_pretrained(other)
    said = refused("export", other, "--model", full().model, "--output", tmp_path / "out")
    assert f"adapter {other} does not fit the model" in said
    assert "down_proj.weight is 64 × 96 here and 64 × 128 there" in said
    assert not (tmp_path / "out").exists()


def test_an_edit_of_a_whole_model_is_refused(full: Callable[..., Job], tmp_path: Path) -> None:
    """There is no adapter in its folder that could be repaired."""
    whole = shutil.copytree(full().model, tmp_path / "whole")
    asked = ["--model", full().model, "--test-data", full().data, "--output", tmp_path / "run"]
    assert "is a full fine-tune: a whole model" in refused("repair", whole, *asked)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("kl_anchor", "kl_anchor compares with the model without its adapter"),
        ("scale", "scale edits an adapter after training"),
        ("safe_lora", "safe_lora edits an adapter after training"),
        ("safe_merge", "safe_merge edits an adapter after training"),
        ("realign", "realign edits an adapter after training"),
    ],
)
def test_what_needs_an_adapter_is_refused_when_it_is_read(recipe: str, said: str) -> None:
    """By the method's name, with the reason and what to do."""
    given = ["methods.0.base=a/b"] if recipe in ("safe_lora", "safe_merge") else []
    with pytest.raises(ConfigError, match=said) as caught:
        load_recipe(recipe, ["lora=null", *given])
    assert "full fine-tuning (lora: null) has none" in str(caught.value)


def test_a_reference_of_each_step_is_refused_and_a_stored_one_is_not() -> None:
    """Once it is trained, nothing is left of the model before."""
    load_recipe("constrained", ["lora=null"])
    with pytest.raises(ConfigError, match="constrained compares with the model without"):
        load_recipe("constrained", ["lora=null", "methods.0.reference=each_step"])


@pytest.mark.parametrize(
    "method",
    [
        Ema(name="ema"),
        Lisa(name="lisa", rho=3.0, free_share=0.0, rows=4),
        Replay(name="replay", weight=2.0, rows=4, batch=6),
    ],
    ids=lambda one: one.name,
)
def test_eight_rows_are_four_times_two(fit: Callable[..., Any], method: Any) -> None:
    """With methods, too, a step does not depend on the micro-batches it is cut into."""
    whole = fit(method, work="whole", lora=None, per_device_train_batch_size=8)
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    parts = fit(method, work="parts", lora=None, **cut)
    alike(take(whole, noise=0.01), take(parts, noise=0.01), 1e-4)


def test_a_stored_reference_is_the_model_before(fit: Callable[..., Any]) -> None:
    """Replay costs nothing at the start, and something once the weights have moved."""
    trainer = fit(Replay(name="replay", weight=2.0, rows=4, batch=6), lora=None)
    plain = fit(work="plain", lora=None)
    assert torch.allclose(take(trainer).loss, take(plain).loss, atol=1e-5)
    assert take(trainer, noise=0.02).loss > take(plain, noise=0.02).loss + 1e-3
