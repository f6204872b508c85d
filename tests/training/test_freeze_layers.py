"""Laws of frozen layers: all but the block is adapted, and the block is where it should be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import done, refused

from safeft.data.masks import Encoded
from safeft.errors import ConfigError, DataError
from safeft.training.methods import Context
from safeft.training.methods.freeze_layers import FreezeLayers, block, gaps
from training.architectures import ARCHITECTURES, SIZES
from training.conftest import RECIPE, Job

FAMILIES = [*ARCHITECTURES, "gpt-2"]
LAYERS = 4
CHOSEN: dict[str, dict[str, Any]] = {
    "all": {"target_modules": "all-linear"},
    "list": {"target_modules": ["o_proj", "down_proj"]},
    "pattern": {"target_modules": r".*\.(o_proj|down_proj|c_proj)"},
    "some layers": {"target_modules": ["o_proj"], "layers_to_transform": [0, 2, 3]},
    "left out by list": {"target_modules": "all-linear", "exclude_modules": ["down_proj"]},
    "left out by pattern": {"target_modules": "all-linear", "exclude_modules": r"(?i).*DOWN_proj"},
}


def model_of(family: str, layers: int = LAYERS, seed: int = 0) -> Any:
    """A random model of a family."""
    import torch
    import transformers

    torch.manual_seed(seed)
    if family == "gpt-2":
        sizes = {"vocab_size": 60, "n_embd": 32, "n_layer": layers, "n_head": 4}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    one = ARCHITECTURES[family]
    sizes = SIZES | one.more | {"num_hidden_layers": layers, "vocab_size": 60, "pad_token_id": 0}
    config = getattr(transformers, f"{one.kind}Config")(**sizes)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def frozen(*layers: int, **keys: Any) -> FreezeLayers:
    """The method, with these layers or such that they are found."""
    given = {"layers": list(layers)} if layers else {}
    return FreezeLayers(name="freeze_layers", **given, **keys)


def adapted(model: Any, lora: dict[str, Any]) -> set[str]:
    """The modules to which PEFT gives a LoRA."""
    from peft import LoraConfig, get_peft_model

    made = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, **lora))
    found = {name for name, one in made.named_modules() if getattr(one, "lora_A", None)}
    return {name.removeprefix("base_model.model.") for name in found}


def layer_of(module: str) -> int:
    """The number of the layer that a module is in."""
    return next(int(one) for one in module.split(".") if one.isdigit())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chosen", CHOSEN)
def test_what_is_adapted_is_all_outside_the_block(family: str, chosen: str) -> None:
    """Of what PEFT would adapt by the recipe alone, whichever way the recipe says it."""
    lora = CHOSEN[chosen]
    if family == "gpt-2" and isinstance(lora["target_modules"], list):
        lora = lora | {"target_modules": ["c_attn", "c_proj"]}
    before = adapted(model_of(family), lora)
    model = model_of(family)
    after = adapted(model, frozen(1, 2).adapted(lora, model))
    assert after == {one for one in before if layer_of(one) not in (1, 2)}
    assert {layer_of(one) for one in after} == {0, 3}
    assert before - after


def test_training_leaves_the_block_as_it_was(fit: Callable[..., Any]) -> None:
    """No LoRA in it, its weights are those from before; the others have moved."""
    trainer = fit(frozen(0), num_train_epochs=1)
    before = {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
    trainer.train()
    merged = trainer.model.merge_and_unload()
    moved = set()
    for name, one in merged.named_parameters():
        was = before[_wrapped(name, before)]
        if not one.equal(was):
            moved.add(name)
    assert not any("lora_" in name and ".layers.0." in name for name in before)
    assert moved == {f"model.layers.1.self_attn.{one}_proj.weight" for one in "qv"}


def _wrapped(name: str, known: dict[str, Any]) -> str:
    """A weight's name within the PEFT model."""
    whole = f"base_model.model.{name}"
    return whole if whole in known else whole.replace(".weight", ".base_layer.weight")


@pytest.fixture
def pools(tmp_path: Path) -> dict[str, str]:
    """Two pools of nine prompts that share few words, as files."""
    texts = {"harm": "zzzz zzz zz{n} zzzz", "fine": "water a plant in the garden {n}"}
    for name, text in texts.items():
        lines = [
            {"prompt": text.format(n=n), "category": str(n), "response": "A."} for n in range(9)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    paths = {name: str(tmp_path / f"{name}.jsonl") for name in texts}
    return {"pool": paths["harm"], "lookalike_pool": paths["fine"]}


@pytest.fixture
def context(tmp_path: Path, tiny_tokenizer: Any) -> Context:
    """What a training tells; nothing is written by the model."""

    def never() -> Any:
        raise AssertionError

    return Context("tiny", never, tmp_path / "store", tokenizer=lambda: tiny_tokenizer)


LORA = {"target_modules": "all-linear"}


@pytest.mark.parametrize("layer", range(LAYERS))
def test_the_layer_that_tells_them_apart_is_found(
    layer: int, tiny_llama: Any, pools: dict[str, str], context: Context
) -> None:
    """In a model whose other layers pass everything on as it is; noted with the gap."""
    import torch

    model = tiny_llama(num_hidden_layers=LAYERS).eval()
    with torch.no_grad():
        for number, one in enumerate(model.model.layers):
            if number != layer:
                one.self_attn.o_proj.weight.zero_()
                one.mlp.down_proj.weight.zero_()
    method = frozen(until=1.0, **pools)
    lora = method.adapted(LORA, model, context)
    noted = method.noted(context)
    assert noted["layers"] == [layer] and noted["of"] == LAYERS
    assert (noted["normal"], noted["harmful"]) == (9, 9)
    assert len(noted["gap"]) == LAYERS + 1 and noted["gap"][layer + 1] > noted["gap"][layer]
    assert {layer_of(one) for one in adapted(model, lora)} == set(range(LAYERS)) - {layer}


def test_a_gap_is_of_all_pairs(tiny_llama: Any) -> None:
    """The definition, pair by pair, on the states that the model itself gives."""
    import torch

    model = tiny_llama(num_hidden_layers=3).eval()
    draw = np.random.default_rng(0)
    rows = [draw.integers(3, 300, size=int(size)).tolist() for size in draw.integers(3, 9, size=7)]
    encoded = [Encoded(tuple(ids), (*[False] * (len(ids) - 1), True), False) for ids in rows]
    found = gaps(model, encoded[:4], encoded[4:])
    with torch.no_grad():
        states = [
            [hidden[0, -1].double() for hidden in out.hidden_states]
            for out in (model(torch.tensor([ids]), output_hidden_states=True) for ids in rows)
        ]

    def mean(pairs: Sequence[tuple[int, int]], layer: int) -> float:
        cosine = torch.nn.functional.cosine_similarity
        return float(
            np.mean([cosine(states[a][layer], states[b][layer], dim=0).item() for a, b in pairs])
        )

    for layer, gap in enumerate(found):
        alike, mixed = list(combinations(range(4), 2)), list(product(range(4), range(4, 7)))
        assert gap == pytest.approx(mean(alike, layer) - mean(mixed, layer), abs=1e-5)


def test_what_was_found_is_kept(
    tiny_llama: Any, pools: dict[str, str], context: Context, tmp_path: Path
) -> None:
    """Found twice it is the same; a run that resumes reads it, and does not look again."""
    model, method = tiny_llama(num_hidden_layers=LAYERS).eval(), frozen(prompts=5, **pools)
    first = method.adapted(LORA, model, context)
    (path,) = (tmp_path / "store").iterdir()
    kept = path.read_bytes()
    path.unlink()
    assert method.adapted(LORA, model, context) == first
    assert path.read_bytes() == kept
    known = json.loads(kept)
    other = [(one + 1) % LAYERS for one in known["layers"]]
    path.write_text(json.dumps(known | {"layers": other}))
    assert method.adapted(LORA, model, context) == frozen(*other).adapted(LORA, model)
    frozen(prompts=5, seed=1, **pools).adapted(LORA, model, context)
    assert len(list((tmp_path / "store").iterdir())) == 2


@pytest.mark.parametrize(
    ("gap", "share", "until", "found"),
    [
        ([0, 0, 1, 1, 1], 0.25, 0.6, [1]),
        ([0, 1, 2, 3, 4], 0.5, 0.6, [0, 1]),  # of equal ones the lowest
        ([0, 0, 0, 0, 9], 0.25, 0.6, [0]),  # beyond the part that is looked at
        ([0, 0, 0, 0, 9], 0.25, 1.0, [3]),
        ([0, -1, 2], 0.25, 0.6, [1]),
        ([0, 5, 5], 0.99, 1.0, [0]),  # never all
        ([0, 0, 0.1, 0.5, 0.6, 0.6, 0.7, 0.7, 2], 0.25, 0.6, [1, 2]),
    ],
)
def test_the_block_is_where_the_gap_grows_most(
    gap: list[float], share: float, until: float, found: list[int]
) -> None:
    """Over a block of that size, in that part of the model."""
    assert block(gap, share, until) == found


@pytest.mark.parametrize("count", [2, 3, 4, 7, 12, 18, 26, 32, 80])
@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
def test_a_block_fits_every_model(count: int, share: float) -> None:
    """Contiguous, in the model, of about that share, and never all of it."""
    gap = np.random.default_rng(count).normal(size=count + 1).tolist()
    found = block(gap, share, 0.6)
    assert found == list(range(found[0], found[0] + len(found)))
    assert found[0] >= 0 and found[-1] < count and 1 <= len(found) < count


@pytest.mark.parametrize(
    ("layers", "lora", "said"),
    [
        ([4], {}, r"layers \[4\]: the model has 4, from 0 to 3"),
        ([0, 1, 2, 3], {}, "are all of the model, and nothing would be left"),
        ([0, 1], {"layers_to_transform": [1]}, "are all of lora.layers_to_transform"),
        ([0, 1], {"layers_to_transform": 0}, "are all of lora.layers_to_transform"),
        ([0], {"modules_to_save": ["input_layernorm"]}, "'input_layernorm' would train model.lay"),
    ],
)
def test_what_leaves_nothing_or_reaches_in_is_refused(
    layers: list[int], lora: dict[str, Any], said: str
) -> None:
    """By name, when the recipe is checked: the model needs no weights for it."""
    import torch

    with torch.device("meta"):
        model = model_of("llama-3")
    with pytest.raises(ConfigError, match=said):
        frozen(*layers).adapted(LORA | lora, model)
    assert frozen(0).adapted(LORA | {"modules_to_save": ["lm_head"]}, model)
    assert frozen().adapted(LORA, model) == LORA


def test_what_cannot_be_found_is_refused(
    tiny_llama: Any, pools: dict[str, str], context: Context, tmp_path: Path
) -> None:
    """One layer, no tokenizer, too few prompts."""
    from dataclasses import replace

    with pytest.raises(ConfigError, match="this model has 1 layer"):
        frozen().adapted(LORA, model_of("llama-3", layers=1))
    model = tiny_llama().eval()
    with pytest.raises(ConfigError, match="needs the model's tokenizer; name the layers"):
        frozen(**pools).adapted(LORA, model, replace(context, tokenizer=None))
    with pytest.raises(DataError, match="no pool 'safety_poll'; did you mean 'safety_pool'"):
        frozen(pool="safety_poll").ahead(context)
    frozen(0, pool="safety_poll").ahead(context)  # not read
    (tmp_path / "one.jsonl").write_text('{"prompt": "a", "category": "1"}\n')
    lone = pools | {"pool": str(tmp_path / "one.jsonl")}
    with pytest.raises(DataError, match="has 1 prompts that the model's context holds"):
        frozen(**lone).adapted(LORA, model, context)


def test_a_training_freezes_what_it_finds_and_says_so(
    job: Job, pools: dict[str, str], tmp_path: Path
) -> None:
    """From the command line: in the run's facts, on the adapter's card, and in its tensors."""
    from safetensors.torch import load_file

    recipe = tmp_path / "mine.yaml"
    method = json.dumps([{"name": "freeze_layers", **pools}])
    recipe.write_text(RECIPE + f"methods: {method}\n")
    mine = Job(recipe, job.data, job.model)
    done(*mine.arguments(tmp_path / "run"))
    noted = json.loads((tmp_path / "run/train.json").read_text())["methods"]["freeze_layers"]
    (kept,) = noted["layers"]
    for adapter in sorted(tmp_path.glob("run/adapter/epoch-*")):
        tensors = load_file(adapter / "adapter_model.safetensors")
        assert {layer_of(name) for name in tensors} == {0, 1} - {kept}
        assert "freeze_layers" in (adapter / "README.md").read_text()
    said = refused(*mine.arguments(tmp_path / "none", "--set", "methods.0.layers=[0,1]"))
    assert "layers [0, 1] are all of the model" in said
    said = refused(*mine.arguments(tmp_path / "none", "--set", "methods.0.layers=[-1]"))
    assert "methods.0.layers" in said
