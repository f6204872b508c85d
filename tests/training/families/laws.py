"""Every shipped recipe on a family of models: it trains, saves, reloads, merges and evaluates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import done

from safeft.assets import folder
from training.architectures import ARCHITECTURES
from training.conftest import chats

FAMILIES = list(ARCHITECTURES)
RECIPES = sorted(path.stem for path in folder("recipes").glob("*.yaml"))
SMALL = [
    *("lora.r=2", "lora.lora_alpha=2", "trainer.num_train_epochs=1", "max_length=256"),
    *("trainer.per_device_train_batch_size=4", "trainer.gradient_accumulation_steps=1"),
    *("trainer.learning_rate=0.01", "trainer.warmup_steps=0"),
]
SORRY = "I'm sorry, but I can't help with that."


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


def covers(family: str, recipe: str, models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
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
