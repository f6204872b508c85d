"""Laws of a probe by itself: what is smoothed how, what is stored, and which models it fits."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from guarding.probing import WIDTH, card, probing, saved
from safeft.errors import ConfigError, StoredError
from safeft.guarding.probe import Probe, body, decoder_layers, probability, smoothed

logits = st.lists(st.floats(-30, 30), min_size=1, max_size=40)


@settings(deadline=None)
@given(logits, st.floats(0, 0.99), st.floats(-9, 9))
def test_smoothing_is_its_closed_form(given_T: list[float], smoothing: float, start: float) -> None:
    """Each token's share is a power of its age; what is left of one is the start's."""
    for last in range(len(given_T)):
        share = (1 - smoothing) * smoothing ** np.arange(last + 1)[::-1]
        wanted = (share * given_T[: last + 1]).sum() + (1 - share.sum()) * start
        assert smoothed(given_T, smoothing, start)[last] == pytest.approx(wanted, abs=1e-6)


@settings(deadline=None)
@given(logits, st.floats(0, 0.99), st.floats(0.1, 9), st.floats(-9, 9))
def test_a_scale_of_the_logits_is_one_of_the_smoothed_ones(
    given_T: list[float], smoothing: float, scale: float, shift: float
) -> None:
    """If the start has it too: this is how a probe is scaled after it was fitted."""
    moved = smoothed(np.array(given_T) * scale + shift, smoothing, shift)
    wanted = smoothed(given_T, smoothing) * scale + shift
    np.testing.assert_allclose(moved, wanted, atol=1e-6)
    assert smoothed(given_T, 0).tolist() == pytest.approx(given_T)


def test_what_follows_a_token_that_is_no_number_is_none_either() -> None:
    """So that nothing behind it is taken for read."""
    found = smoothed([1.0, math.nan, 1.0], 0.5)
    assert found[0] == 0.5 and np.isnan(found[1:]).all()


@given(st.floats())
def test_a_probability_is_a_number_only_of_a_finite_logit(logit: float) -> None:
    """Minus infinity would otherwise be released."""
    found = probability(logit)
    assert 0 <= found <= 1 if math.isfinite(logit) else math.isnan(found)
    if abs(logit) < 30:
        assert found == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-9)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """Weights, bias and card; the card holds the hash of the weights."""
    made = probing(rows="abcd", thresholds={"0.01": 0.9}, measured={"held_back": {"auroc": 0.9}})
    written = made.save(tmp_path / "new" / "probe.json")
    found = Probe.load(tmp_path / "new" / "probe.json")
    assert found.card == written.card and len(found.card.sha256) == 64
    np.testing.assert_array_equal(found.weight, made.weight)
    assert found.bias == pytest.approx(made.bias)


def test_a_card_is_json(tmp_path: Path) -> None:
    """Its weights lie beside it under the same name."""
    with pytest.raises(ConfigError, match=r"end its name with \.json"):
        probing().save(tmp_path / "probe.safetensors")


@pytest.mark.parametrize(
    "data",
    [
        save({"weight": np.ones(WIDTH, np.float32), "bias": np.zeros(1, np.float32)}),
        save({"weight": np.ones(WIDTH, np.float32)}),
        b"none",
        None,
    ],
    ids=["others", "a part", "no tensors", "missing"],
)
def test_other_weights_than_the_cards_are_refused(tmp_path: Path, data: bytes | None) -> None:
    """By their hash, whatever they hold."""
    beside = saved(tmp_path).with_suffix(".safetensors")
    beside.unlink() if data is None else beside.write_bytes(data)
    with pytest.raises(StoredError, match=r"probe\.safetensors.*train"):
        Probe.load(tmp_path / "probe.json")


@pytest.mark.parametrize("change", [{"hidden_size": WIDTH - 1}, {}])
def test_weights_that_cannot_be_used_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """Of another length than the card says, or no numbers; though their hash is right."""
    made = probing()
    if not change:
        made.weight[3] = np.nan
    path = saved(tmp_path, made)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoredError, match="differ"):
        Probe.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"smoothing": 1.0}, "smoothing"),
        ({"layer": -1}, "layer"),
        ({"smooth": 0.5}, "unknown key; did you mean 'smoothing'"),
    ],
)
def test_a_wrong_card_names_its_key(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """As any YAML of ours does."""
    path = saved(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=words):
        Probe.load(path)


def test_a_model_of_another_width_or_too_few_layers_is_refused(
    tiny_llama: Callable[..., Any],
) -> None:
    """In words that say which numbers differ."""
    probing().fits(tiny_llama())
    with pytest.raises(ConfigError, match=r"states of 64 numbers, .*testbed:aligned.* have 32"):
        probing().fits(tiny_llama(hidden_size=32))
    with pytest.raises(ConfigError, match="reads layer 2, and this model has 2, from 0"):
        probing(layer=2).fits(tiny_llama())


def test_a_model_with_an_encoder_is_refused() -> None:
    """Its decoder's states are of another kind."""
    from transformers import T5Config, T5ForConditionalGeneration

    small = {"d_model": 64, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    made = T5ForConditionalGeneration(T5Config(vocab_size=30, **small))
    with pytest.raises(ConfigError, match="decoder-only"):
        probing().fits(made)


def test_layers_are_found_in_any_decoder(
    tiny_llama: Callable[..., Any], tiny_adapter: Path
) -> None:
    """Under an adapter they are the adapted ones; the body is the model without its head."""
    from peft import PeftModel
    from transformers import GPT2Config, GPT2LMHeadModel

    llama = tiny_llama()
    assert decoder_layers(llama) is llama.model.layers and body(llama) is llama.model
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=64, n_layer=2, n_head=2, n_positions=8))
    assert decoder_layers(gpt) is gpt.transformer.h
    probing().fits(gpt)
    adapted = PeftModel.from_pretrained(llama, tiny_adapter)
    assert decoder_layers(adapted) is llama.model.layers and body(adapted) is llama.model


def test_a_card_is_read_without_torch() -> None:
    """A policy is checked where no model runs."""
    code = (
        "import sys, safeft.guarding.probe, safeft.guarding.states;"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


def test_a_card_has_no_more_keys_than_it_documents() -> None:
    """What is written is read again."""
    assert card().model_validate(card().model_dump()) == card()
