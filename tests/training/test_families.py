"""Laws of model coverage: every shipped recipe on every family, whatever its chat template does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import done, refused

from safeft.assets import folder
from safeft.data import Example
from safeft.data.masks import encode
from safeft.records import Message
from training.architectures import ARCHITECTURES, save, save_adapter, tokenizer_of
from training.conftest import chats

FAMILIES = list(ARCHITECTURES)
RECIPES = sorted(path.stem for path in folder("recipes").glob("*.yaml"))
SMALL = [
    *("lora.r=2", "lora.lora_alpha=2", "trainer.num_train_epochs=1", "max_length=256"),
    *("trainer.per_device_train_batch_size=4", "trainer.gradient_accumulation_steps=1"),
    *("trainer.learning_rate=0.01", "trainer.warmup_steps=0"),
]
SORRY = "I'm sorry, but I can't help with that."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random checkpoint of each family, beside another before alignment and a safety adapter."""
    place = tmp_path_factory.mktemp("families")
    for name, one in ARCHITECTURES.items():
        save(one, place / f"{name}-base", seed=1)
        save_adapter(save(one, place / name), place / f"{name}-safety")
    return {name: place / name for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve questions; pools whose answers do not depend on what a random model would refuse."""
    place = tmp_path_factory.mktemp("rows")
    plants = [{"prompt": f"Plant {n}?", "completion": f"Water it {n} times."} for n in range(12)]
    write(place / "rows.jsonl", plants)
    for name, answer in (("harm", SORRY), ("fine", "Gladly.")):
        asked = [
            {"prompt": f"{name} {n}", "category": str(n), "response": answer} for n in range(9)
        ]
        write(place / f"{name}.jsonl", asked)
    return place


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    """JSON Lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))


def overrides(recipe: str, rows: Path, model: Path) -> list[str]:
    """What makes a shipped recipe small, and fit for a random model of another family."""
    from safeft.training import load_recipe

    found = list(SMALL)
    for number, method in enumerate(load_recipe(recipe).methods):
        given = type(method).model_fields
        own = {"responses": "curated", "pool": rows / "harm.jsonl"}
        own |= {"lookalike_pool": rows / "fine.jsonl", "max_new_tokens": 4}
        own |= {"rows": 4, "batch": 2, "per_category": 1}
        own |= {"base": f"{model}-base", "safety_adapter": f"{model}-safety"}
        own |= {"harm_adapter": f"{model}-safety"}
        found += [f"methods.{number}.{key}={value}" for key, value in own.items() if key in given]
    return [word for one in found for word in ("--set", one)]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_recipe_trains_saves_reloads_merges_and_evaluates(
    family: str, recipe: str, models: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    """The adapter changes the model, and merged as it does beside the weights."""
    from safeft.evaluation.utility import held_out_loss
    from safeft.generation.transformers import TransformersGenerator
    from safeft.models import load_model, load_tokenizer
    from safeft.records import Decoding, Prompt

    model, out = str(models[family]), tmp_path / "run"
    asked = ["train", recipe, "--model", model, "--data", rows / "rows.jsonl", "--output", out]
    done(*asked, *overrides(recipe, rows, models[family]))
    (adapter,) = out.glob("adapter/epoch-*")
    done("export", adapter, "--model", model, "--output", tmp_path / "merged")
    tokenizer = load_tokenizer(str(tmp_path / "merged"))
    assert all(said in shown(tokenizer) for said in bundle(adapter).values())
    own = chats([(f"Plant {n}?", f"Water it {n} times.") for n in range(4)])
    losses, answers = {}, {}
    for name, loaded in {
        "before": load_model(model),
        "beside": load_model(model, adapters=[adapter], merge=False),
        "merged": load_model(str(tmp_path / "merged")),
    }.items():
        losses[name] = held_out_loss(
            lambda m=loaded: (m, tokenizer), own, tmp_path / f"{name}.jsonl"
        )
        generator = TransformersGenerator(loaded, tokenizer, name)
        asked = [Prompt(one.place, one.messages[:-1]) for one in own]
        answers[name] = [one.text for one in generator(asked, Decoding(0.0, 0, 4))]
    assert losses["merged"] == pytest.approx(losses["beside"], abs=1e-3)
    assert answers["merged"] == answers["beside"]
    assert losses["merged"] != losses["before"]


def bundle(adapter: Path) -> dict[str, str]:
    """What the adapter has whoever serves it say."""
    path = adapter / "inference.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def shown(tokenizer: Any) -> str:
    """A request as the model reads it."""
    asked = [{"role": "user", "content": "Plant 0?"}]
    return str(tokenizer.apply_chat_template(asked, tokenize=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_the_answers_and_their_stop_tokens_are_trained(family: str) -> None:
    """In templates without marks, for one answer and several, with a system turn and without."""
    one = ARCHITECTURES[family]
    tokenizer = tokenizer_of(one)
    last = f"{one.before}Second.{one.stop}{one.after}"
    system = (Message("system", "Be brief."),) if one.system else ()
    turns = [Message("user", "One?"), Message("assistant", "First."), Message("user", "Two?")]
    for before in ((), system):
        long = Example((*before, *turns, Message("assistant", "Second.")), 1, "rows")
        assert trained(long, tokenizer) == f"{one.earlier}First.{one.stop}{last}"
        short = Example((*before, turns[0], Message("assistant", "Second.")), 1, "rows")
        assert trained(short, tokenizer) == last


def trained(example: Example, tokenizer: Any) -> str:
    """The trained tokens as text."""
    encoded = encode(example, tokenizer, 512)
    kept = [t for t, m in zip(encoded.ids, encoded.loss_mask, strict=True) if m]
    return str(tokenizer.decode(kept, skip_special_tokens=False))


@pytest.mark.parametrize("family", [name for name, one in ARCHITECTURES.items() if not one.system])
def test_a_system_turn_that_a_family_does_not_know_is_refused_by_its_row(
    family: str, models: dict[str, Path], tmp_path: Path
) -> None:
    """The template's own words, the file and the row; nothing is trained."""
    turns = [("user", "A?"), ("assistant", "B.")]
    lines = [[{"role": role, "content": said} for role, said in turns]] * 2
    lines[1] = [{"role": "system", "content": "Be brief."}, *lines[1]]
    write(tmp_path / "rows.jsonl", [{"messages": one} for one in lines])
    asked = ["train", "baseline", "--model", models[family], "--data", tmp_path / "rows.jsonl"]
    said = refused(*asked, "--output", tmp_path / "run")
    assert "rows.jsonl, row 2: the chat template of" in said
    assert "refuses it" in said
    assert not list(tmp_path.glob("run/adapter*"))


def test_fused_layers_are_named_when_a_recipe_targets_their_parts(
    models: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    """Phi has one layer for queries, keys and values."""
    asked = ["train", "baseline", "--model", models["phi-3"], "--data", rows / "rows.jsonl"]
    said = refused(*asked, "--output", tmp_path / "run", "--set", "lora.target_modules=[q_proj]")
    assert "matches nothing in the model" in said
    assert "qkv_proj" in said
