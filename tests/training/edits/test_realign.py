"""Laws of re-alignment: it goes on from the adapter, on safety rows alone, the same each time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import done
from safetensors.torch import load_file

from safeft.errors import ConfigError, DataError, ModelError
from safeft.evaluation import held_out_loss
from safeft.models import load_model, load_tokenizer
from safeft.records import Prompt
from safeft.training.methods import Context
from safeft.training.methods.realign import Realign
from training.conftest import Job

WEIGHTS = "adapter_model.safetensors"
FAST = {"learning_rate": 1e-2, "per_device_train_batch_size": 4}


def realign(**changes: Any) -> Realign:
    """Two harmful rows and two look-alikes with the pools' own answers: one step."""
    given = {"rows": 2, "responses": "curated", "trainer": FAST, "max_length": 256} | changes
    return Realign(name="realign", **given)


def moved(one: Path, other: Path) -> float:
    """The largest difference between two adapters' tensors."""
    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    assert first.keys() == second.keys()
    return max(float((first[key] - second[key]).abs().max()) for key in first)


def test_it_goes_on_from_the_adapter(tiny_model: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    """Without a learning rate the adapter stays; with one, the rows' loss falls from there."""
    still, edited = tmp_path / "still", tmp_path / "edited"
    model = str(tiny_model)
    realign(trainer=FAST | {"learning_rate": 0.0}).edit(tiny_adapter, still, model)
    assert moved(still, tiny_adapter) == 0
    longer = realign(rows=4, trainer=FAST | {"num_train_epochs": 3})
    notes = longer.edit(tiny_adapter, edited, model)
    assert notes == {"harmful": 4, "lookalikes": 4, "steps": 6}
    rows = [row for part in longer.drawn(4, _none(tmp_path)) for row in part]
    losses = []
    for number, adapter in enumerate((tiny_adapter, edited)):
        tuned = load_model(model, adapters=[adapter]), load_tokenizer(model)
        found = held_out_loss(lambda tuned=tuned: tuned, rows, tmp_path / f"{number}.jsonl", 256)
        read = [loss for loss in found if not math.isnan(loss)]
        losses.append(sum(read) / len(read))
    assert losses[1] < 0.9 * losses[0]
    config = json.loads((edited / "adapter_config.json").read_text())
    assert config == json.loads((tiny_adapter / "adapter_config.json").read_text())


def test_the_seed_decides_the_weights(tiny_model: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    """The same bytes again, another order or other rows with another seed, nothing left behind."""
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        realign(seed=seed).edit(tiny_adapter, tmp_path / name, str(tiny_model))
    assert moved(tmp_path / "one", tmp_path / "same") == 0
    assert moved(tmp_path / "one", tmp_path / "other") > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other", "same"]


def test_its_answers_are_written_ahead_and_once(
    tiny_model: Path, tiny_adapter: Path, tmp_path: Path, ask: Callable[..., Context]
) -> None:
    """What the model wrote before training is read after it, and only refusals are taken."""
    asked: list[Prompt] = []

    def answer(prompt: Prompt) -> str:
        harmful = prompt.id.startswith("safety_pool")
        return "I can't help with that." if harmful else "Gladly: water it each week."

    context, edit = ask(answer, asked), realign(responses="self")
    edit.ahead(context)
    before = len(asked)
    assert before > 4
    edit.edit(tiny_adapter, tmp_path / "edited", str(tiny_model), context)
    assert len(asked) == before
    with pytest.raises(DataError, match="the model refuses only 0; lower `rows`"):
        realign(responses="self", seed=3).ahead(ask(lambda _: "Gladly: do it this way."))


def test_wrong_arguments_are_refused_ahead(tmp_path: Path) -> None:
    """Before anything is trained, each by its key."""
    for trainer, said in (
        ({"learning_ratee": 1e-3}, "learning_ratee; did you mean 'learning_rate'"),
        ({"output_dir": "x"}, "trainer.output_dir: safeft sets it itself"),
    ):
        with pytest.raises(ConfigError, match=said):
            realign(trainer=trainer).ahead(_none(tmp_path))


def test_an_adapter_of_another_model_is_refused(
    tiny_llama: Callable[..., Any], tiny_tokenizer: Any, tiny_adapter: Path, tmp_path: Path
) -> None:
    """By its folder, and nothing is written."""
    tiny_llama(hidden_size=32).save_pretrained(tmp_path / "narrow")
    tiny_tokenizer.save_pretrained(tmp_path / "narrow")
    with pytest.raises(ModelError, match="does not fit the model"):
        realign().edit(tiny_adapter, tmp_path / "edited", str(tmp_path / "narrow"))
    assert not (tmp_path / "edited").exists()


def test_it_takes_what_no_algebra_takes(tiny_model: Path, tmp_path: Path) -> None:
    """DoRA with weights kept whole: all of it is trained on, under the names it had."""
    from peft import LoraConfig, get_peft_model

    settings: dict[str, Any] = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
    config = LoraConfig(task_type="CAUSAL_LM", use_dora=True, **settings)
    get_peft_model(load_model(str(tiny_model)), config).save_pretrained(tmp_path / "dora")
    realign().edit(tmp_path / "dora", tmp_path / "edited", str(tiny_model))
    before, after = load_file(tmp_path / "dora" / WEIGHTS), load_file(tmp_path / "edited" / WEIGHTS)
    assert before.keys() == after.keys()
    for kind in ("lora_B", "magnitude", "embed_tokens"):
        changed = [not torch.equal(before[key], after[key]) for key in before if kind in key]
        assert changed and all(changed), kind


def test_a_recipe_realigns_every_epoch(job: Job, tmp_path: Path) -> None:
    """Through the command line: notes for each epoch, and other weights than without the edit."""
    method = {
        "name": "realign",
        "rows": 2,
        "responses": "curated",
        "trainer": FAST,
        "max_length": 256,
    }
    done(*job.arguments(tmp_path / "plain"))
    done(*job.arguments(tmp_path / "run", "--set", f"methods=[{json.dumps(method)}]"))
    facts = json.loads((tmp_path / "run/train.json").read_text())
    assert facts["methods"]["realign"].keys() == {"epoch-1", "epoch-2"}
    for epoch in ("epoch-1", "epoch-2"):
        assert facts["methods"]["realign"][epoch]["steps"] == 1
        assert moved(tmp_path / "run/adapter" / epoch, tmp_path / "plain/adapter" / epoch) > 0


def _none(folder: Path) -> Context:
    """A context that nobody asks."""

    def refuse() -> Any:
        raise AssertionError("nothing is to be generated")

    return Context("nobody", refuse, folder / "store")


def test_it_trains_on_what_the_recipe_trained_on(job: Job, tmp_path: Path) -> None:
    """Beside weights in few bits the update is fitted to those, and not to the full ones."""
    method = {
        "name": "realign",
        "rows": 2,
        "responses": "curated",
        "trainer": FAST,
        "max_length": 256,
    }
    few = ("--set", "quantization=nf4")
    done(*job.arguments(tmp_path / "plain", *few))
    done(*job.arguments(tmp_path / "run", *few, "--set", f"methods=[{json.dumps(method)}]"))
    plain, made = tmp_path / "plain/adapter/epoch-1", tmp_path / "run/adapter/epoch-1"
    model = str(job.model)
    again = replace(_none(tmp_path), weights=lambda: load_model(model, quantization="nf4"))
    realign().edit(plain, tmp_path / "few", model, again)
    realign().edit(plain, tmp_path / "full", model)
    assert moved(made, tmp_path / "few") == 0
    assert moved(made, tmp_path / "full") > 0
