"""Laws of the pass-through: TRL's and PEFT's arguments by their own names, refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safeft.errors import ConfigError
from safeft.training import Recipe, check_arguments
from safeft.training.trainer import build


def recipe(lora: dict[str, Any] | None = None, trainer: dict[str, Any] | None = None) -> Recipe:
    """A recipe with these arguments."""
    return Recipe(name="one", lora={"r": 4} if lora is None else lora, trainer=trainer or {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trainer": {"learning_rat": 0.1}}, "unknown key trainer.learning_rat; did you mean 'lea"),
        ({"trainer": {"zzz": 1}}, "unknown key trainer.zzz"),
        ({"lora": {"rank": 4}}, "unknown key lora.rank"),
        ({"lora": {"lora_alhpa": 4}}, "unknown key lora.lora_alhpa; did you mean 'lora_alpha'?"),
        ({"trainer": {"learning_rate": "high"}}, "trainer.learning_rate: must be a number"),
        ({"trainer": {"gradient_checkpointing": "no"}}, "must be true or false, not 'no'"),
        ({"lora": {"r": "16"}}, "lora.r: must be a whole number, not '16'"),
        ({"trainer": {"optim": "adamm"}}, "trainer.optim: 'adamm' is not known; did you mean"),
        ({"trainer": {"lr_scheduler_type": "wavy"}}, "trainer.lr_scheduler_type: 'wavy' is not"),
    ],
)
def test_what_trl_or_peft_do_not_know_is_refused_by_name(
    arguments: dict[str, Any], words: str
) -> None:
    """Before a model is loaded, with the recipe, the key and the nearest name."""
    with pytest.raises(ConfigError) as caught:
        check_arguments(recipe(**arguments))
    assert "recipe one: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"trainer": {"warmup_steps": 0.1, "neftune_noise_alpha": 5, "max_grad_norm": 1}},
        {"trainer": {"optim": "adamw_torch", "report_to": "none"}},
        {"lora": {"init_lora_weights": "pissa", "target_modules": ["q_proj"], "use_rslora": True}},
        {"lora": {"r": 8, "layers_to_transform": [0], "modules_to_save": ["lm_head"]}},
    ],
)
def test_what_trl_and_peft_know_passes(arguments: dict[str, Any]) -> None:
    """Any argument of the libraries, also those that safeft has never heard of."""
    check_arguments(recipe(**arguments))


def test_checking_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check may not leave the folder that a training would."""
    monkeypatch.chdir(tmp_path)
    check_arguments(recipe())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def parts(tmp_path: Path, tiny_llama: Any, tiny_tokenizer: Any) -> dict[str, Any]:
    """What a trainer needs beside the recipe."""
    from datasets import Dataset

    rows = Dataset.from_dict({"input_ids": [[3, 4, 5]] * 2, "labels": [[-100, 4, 5]] * 2})
    return {
        "model": tiny_llama(),
        "tokenizer": tiny_tokenizer,
        "dataset": rows,
        "callbacks": [],
        "seed": 3,
        "work": tmp_path / "work",
        "quiet": True,
    }


def test_a_lora_target_that_matches_nothing_is_refused_with_what_there_is(
    parts: dict[str, Any],
) -> None:
    """The layers of this very model, so that the next try is right; and no folder is left."""
    with pytest.raises(ConfigError) as caught:
        build(recipe(lora={"target_modules": ["c_attn"]}), **parts)
    assert "lora.target_modules ['c_attn'] matches nothing" in str(caught.value)
    assert "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj" in str(caught.value)
    assert not parts["work"].exists()


def test_a_value_that_peft_refuses_is_the_recipes_error(parts: dict[str, Any]) -> None:
    """A rank that only the model's layers refuse: still no traceback."""
    lora = {"target_modules": ["q_proj"], "rank_pattern": {"q_proj": 0}}
    with pytest.raises(ConfigError, match=r"recipe one: .*`r`"):
        build(recipe(lora=lora), **parts)


def test_what_is_given_reaches_trl_and_what_is_owned_stays(parts: dict[str, Any]) -> None:
    """Given arguments win over safeft's defaults, and never over what safeft owns."""
    given = {"learning_rate": 0.125, "logging_steps": 7, "per_device_train_batch_size": 1}
    trainer = build(recipe(lora={"target_modules": ["q_proj"]}, trainer=given), **parts)
    assert trainer.args.learning_rate == 0.125
    assert trainer.args.logging_steps == 7
    assert (trainer.args.seed, trainer.args.data_seed) == (3, 3)
    assert trainer.args.save_strategy == "epoch"
    assert trainer.args.output_dir == str(parts["work"])
    ordered = recipe(lora={"target_modules": ["q_proj"]}, trainer={"data_seed": 8})
    args = build(ordered, **parts).args
    assert (args.seed, args.data_seed) == (3, 8)  # the order of the rows varies by itself
