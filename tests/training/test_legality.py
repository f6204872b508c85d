"""Laws of combining methods: what makes no sense is refused when the YAML is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from safeft.errors import ConfigError
from safeft.training import Recipe, load_recipe
from safeft.training.legality import refuse_illegal, refuse_unloadable
from safeft.training.methods import Context, WeightEdit

LORA = "lora: {r: 4}\n"


def read(folder: Path, *methods: str, more: str = LORA) -> Recipe:
    """The recipe of a YAML with these methods."""
    path = folder / "mine.yaml"
    listed = "".join(f"  - {{{one}}}\n" for one in methods)
    path.write_text(f"name: mine\nmethods:\n{listed}{more}")
    return load_recipe(str(path))


def problem(folder: Path, *methods: str, more: str = LORA) -> str:
    """The message with which these are refused."""
    with pytest.raises(ConfigError) as caught:
        read(folder, *methods, more=more)
    return str(caught.value)


def test_methods_of_all_slots_go_together_in_order(tmp_path: Path) -> None:
    """Data, loss, optimizer and inference in one recipe."""
    named = ["safety_mix", "lookahead", "constrained", "replay", "ema", "ptst"]
    recipe = read(tmp_path, *(f"name: {name}" for name in named))
    assert [one.name for one in recipe.methods] == named
    slots = [one.slot for one in recipe.methods]
    assert slots == ["data", "data", "loss", "loss", "optimizer", "inference"]


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (["name: ema", "name: constrained"], "constrained (loss) stands after ema (optimizer)"),
        (["name: ptst", "name: safety_mix"], "safety_mix (data) stands after ptst (inference)"),
        (["name: constrained", "name: kl_anchor"], "both hold the task rows' tokens"),
        (["name: constrained", "name: star_dss"], "both hold the task rows' tokens"),
        (["name: star_dss", "name: kl_anchor"], "both hold the task rows' tokens"),
        (["name: self_replay", "name: lisa"], "and self_replay would bring them a second time"),
        (["name: star_dss, every: 0"], "methods.0.every: Input should be greater than 0"),
        (["name: kl_anchor, on: safety", "name: replay"], "both hold the safety rows' tokens"),
        (["name: lisa", "name: replay"], "lisa alternates with safety rows itself, and replay"),
        (["name: kl_anchor, on: safety", "name: lisa"], "and kl_anchor would bring them a second"),
        (["name: safety_mix", "name: lisa"], "and safety_mix would bring them a second time"),
        (["name: replay", "name: safegrad"], "both hold the safety rows' tokens"),
        (["name: kl_anchor, on: safety", "name: safegrad"], "both hold the safety rows' tokens"),
        (["name: safety_mix", "name: safegrad"], "safegrad sets the task's gradient against"),
        (["name: lisa", "name: safegrad"], "and safegrad would bring them a second time"),
        (["name: asft_subspace"], "methods.0.base: missing; asft_subspace compares the aligned"),
        (
            ["name: safety_mix", "name: self_generated"],
            "self_generated writes the answers of all rows anew, those of safety_mix among them",
        ),
        (["name: self_replay", "name: self_generated"], "those of self_replay among them"),
        (["name: lookahead", "name: self_generated"], "those of lookahead among them"),
        (["name: ema", "name: ema"], "each method may appear once"),
        (["name: emma"], "'name' 'emma' is not known; did you mean 'ema'?"),
        (["name: ema, decoy: 1"], "methods.0.decoy: unknown key; did you mean 'decay'?"),
        (["name: lisa, rho: -1"], "methods.0.rho: Input should be greater than or equal to 0"),
    ],
)
def test_what_makes_no_sense_together_is_refused_with_the_reason(
    tmp_path: Path, methods: list[str], words: str
) -> None:
    """The file and both methods are named."""
    said = problem(tmp_path, *methods)
    assert "mine.yaml: " in said
    assert words in said


@pytest.mark.parametrize(
    "methods",
    [
        ["name: self_generated", "name: safety_mix", "name: lookahead"],
        ["name: kl_anchor, on: safety", "name: constrained"],
        ["name: constrained", "name: lisa"],
        ["name: kl_anchor", "name: replay"],
        ["name: safety_mix", "name: replay"],
        ["name: self_replay", "name: star_dss", "name: kl_anchor, on: safety"],
        ["name: star_dss", "name: replay"],
        ["name: star_dss", "name: lisa"],
        ["name: kl_anchor", "name: safegrad", "name: ema", "name: realign"],
        ["name: asft_subspace, base: one", "name: safegrad", "name: safe_lora, base: one"],
    ],
)
def test_anchors_on_other_tokens_go_together(tmp_path: Path, methods: list[str]) -> None:
    """The rules refuse no more than they say."""
    assert len(read(tmp_path, *methods).methods) == len(methods)


@pytest.mark.parametrize("method", ["constrained", "star_dss", "kl_anchor", "replay", "safegrad"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modules_to_save", "[embed_tokens]"),
        ("trainable_token_indices", "[1, 2]"),
        ("bias", "all"),
        ("init_lora_weights", "pissa_niter_4"),
    ],
)
def test_an_anchor_needs_the_model_with_its_adapter_off(
    tmp_path: Path, method: str, key: str, value: str
) -> None:
    """What is trained beside the adapter would stay on; other methods do not mind."""
    more = f"lora: {{{key}: {value}}}\n"
    assert f"lora.{key}: {method} compares with" in problem(tmp_path, f"name: {method}", more=more)
    assert read(tmp_path, "name: ema", more=more)


@pytest.mark.parametrize("method", ["constrained", "star_dss", "kl_anchor", "replay", "safegrad"])
def test_an_anchor_begins_at_the_model_before_training(tmp_path: Path, method: str) -> None:
    """An adapter that PEFT draws at random changes it before the first step."""
    more = "lora: {init_lora_weights: false}\n"
    said = problem(tmp_path, f"name: {method}", more=more)
    assert f"lora.init_lora_weights: {method} begins with the model before training" in said
    assert read(tmp_path, "name: ema", more=more)


@pytest.mark.parametrize(
    "method", ["constrained", "kl_anchor", "lisa", "asft_subspace, base: one", "ema", "safegrad"]
)
@pytest.mark.parametrize("by", ["fsdp", "deepspeed"])
def test_nothing_is_added_to_shards(
    tmp_path: Path, method: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the YAML or `accelerate launch` asks for them; a recipe of data goes on."""
    refused = f"trainer.{by}: {method.partition(',')[0]} reads the weights or gradients"
    more = f"{LORA}trainer: {{{by}: x.json}}\n"
    assert refused in problem(tmp_path, f"name: {method}", more=more)
    monkeypatch.setenv(f"ACCELERATE_USE_{by.upper()}", "true")
    assert refused in problem(tmp_path, f"name: {method}")
    assert read(tmp_path, "name: safety_mix")


def test_a_scaled_loss_of_the_launcher_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`accelerate launch --mixed_precision fp16` is trainer.fp16 by another way."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert "trainer.fp16: safegrad changes gradients" in problem(tmp_path, "name: safegrad")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert read(tmp_path, "name: safegrad")


@pytest.mark.parametrize(
    ("method", "argument", "refused"),
    [
        ("constrained", "packing_strategy: wrapped", True),
        ("constrained", "loss_type: dft", True),
        ("star_dss", "packing_strategy: wrapped", True),
        ("star_dss", "loss_type: dft", True),
        ("star_dss", "label_smoothing_factor: 0.1", True),
        ("kl_anchor", "label_smoothing_factor: 0.1", True),
        ("safegrad", "fp16: true", True),
        ("safegrad", "fsdp: full_shard", True),
        ("safegrad", "deepspeed: zero3.json", True),
        ("safegrad", "optim: adalomo", True),
        ("safegrad", "optim: galore_adamw_layerwise", True),
        ("safegrad", "optim: adamw_torch", False),
        ("safegrad", "fp16: false", False),
        ("ema", "fp16: true", False),
        ("constrained", "packing_strategy: bfd", False),
        ("kl_anchor", "packing_strategy: wrapped", False),
        ("lisa", "loss_type: dft", False),
        ("replay", "label_smoothing_factor: 0.1", False),
        ("constrained", "neftune_noise_alpha: 5", True),
        ("replay", "neftune_noise_alpha: 5", True),
        ("lisa", "neftune_noise_alpha: 5", False),
    ],
)
def test_arguments_that_a_term_cannot_work_with_are_refused(
    tmp_path: Path, method: str, argument: str, refused: bool
) -> None:
    """By TRL's own key; where the term does not mind, it passes."""
    more = f"{LORA}trainer: {{{argument}}}\n"
    if refused:
        key = argument.partition(":")[0]
        assert f"trainer.{key}: {method}" in problem(tmp_path, f"name: {method}", more=more)
    else:
        assert read(tmp_path, f"name: {method}", more=more)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", "true"),
        ("lora_bias", "true"),
        ("target_parameters", "[experts.down_proj]"),
        ("init_lora_weights", "pissa"),
    ],
)
def test_a_penalty_on_the_product_needs_the_product(tmp_path: Path, key: str, value: str) -> None:
    """Where the update is more than B A, what is measured would be something else."""
    more, asft = f"lora: {{{key}: {value}}}\n", "name: asft_subspace, base: one"
    assert f"lora.{key}: asft_subspace measures" in problem(tmp_path, asft, more=more)
    assert read(tmp_path, "name: ema", more=more)
    assert read(tmp_path, asft, more="lora: {use_rslora: true, init_lora_weights: gaussian}\n")


class Paired(WeightEdit):
    """An edit that compares the aligned model with its base."""

    needs_pair: ClassVar[bool] = True
    name: Literal["paired"] = "paired"
    base: str | None = None

    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Nothing is edited here."""
        raise NotImplementedError


def test_an_edit_that_needs_the_base_model_names_it() -> None:
    """Which model that is cannot be guessed."""
    with pytest.raises(ValueError, match=r"methods\.0\.base: missing; paired compares"):
        refuse_illegal([Paired()], {}, {})
    refuse_illegal([Paired(base="testbed:base")], {}, {})


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("freeze_layers", "bias: all"),
        ("freeze_layers", "target_parameters: [mlp.experts.down_proj]"),
        ("freeze_layers", "layer_replication: [[0, 2], [1, 2]]"),
        ("resta, harm_adapter: runs/harm", "use_dora: true"),
        ("resta, harm_adapter: runs/harm", "lora_bias: true"),
        ("resta, harm_adapter: runs/harm", "target_parameters: [mlp.experts.down_proj]"),
        ("resta, harm_adapter: runs/harm", "init_lora_weights: pissa_niter_4"),
        ("scale", "use_dora: true"),
        ("scale", "init_lora_weights: pissa"),
        ("safe_lora, base: one", "use_dora: true"),
        ("safe_lora, base: one", "lora_bias: true"),
        ("safe_lora, base: one", "layer_replication: [[0, 2], [1, 2]]"),
        ("safe_merge, base: one, safety_adapter: runs/safety", "init_lora_weights: pissa"),
        ("safe_merge, base: one, safety_adapter: runs/safety", "target_parameters: [experts]"),
    ],
)
def test_loras_arguments_that_a_method_cannot_work_with_are_refused(
    tmp_path: Path, method: str, argument: str
) -> None:
    """By PEFT's own key, before anything is trained; other methods do not mind."""
    more = f"lora: {{{argument}}}\n"
    key, name = argument.partition(":")[0], method.partition(",")[0]
    assert f"lora.{key}: {name} " in problem(tmp_path, f"name: {method}", more=more)
    assert read(tmp_path, "name: ema", more=more)
    assert read(tmp_path, f"name: {method}", more="lora: {bias: lora_only, use_rslora: true}\n")


def test_resta_needs_a_harm_adapter(tmp_path: Path) -> None:
    """What harm is cannot be guessed."""
    assert "resta: harm_adapter is missing; give the folder" in problem(tmp_path, "name: resta")


def test_odd_methods_are_left_to_the_schema(tmp_path: Path) -> None:
    """What is no list of mappings gets the schema's own message."""
    refuse_unloadable(None)
    refuse_unloadable([1, "two", {"name": 3}])
    assert "methods.0: " in problem(tmp_path, "1")
