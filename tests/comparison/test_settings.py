"""Factors become settings: every combination once, each with a name, a place and its users."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from safeft.comparison.settings import (
    Setting,
    applied,
    is_asked,
    is_trained,
    place_of,
    settings,
    short,
    told,
)

FACTORS: dict[str, list[Any]] = {
    "lora.r": [8, 16, 32],
    "quantization": [None, "nf4"],
    "merged": [True, False],
}


def setting(**values: Any) -> Setting:
    """The setting of these levels; a double underscore is a dot."""
    pairs = {key.replace("__", "."): json.dumps(value) for key, value in values.items()}
    return Setting(tuple(pairs.items()))


def test_every_combination_is_there_once_in_the_order_of_the_levels() -> None:
    """3 × 2 × 2, the usual one first and the last factor varying fastest."""
    every = settings(FACTORS)
    places = [place_of(one, FACTORS) for one in every]
    assert places == list(itertools.product(range(3), range(2), range(2)))
    assert len(set(every)) == 12 and not every[0] and all(every[1:])


def test_a_setting_holds_only_what_is_unusual() -> None:
    """A factor with its first level is not in it, so that a new factor renames no cell."""
    for one in settings(FACTORS):
        varied = dict(one.values)
        assert all(json.loads(value) != FACTORS[key][0] for key, value in varied.items())
        wider = FACTORS | {"system_prompt": [None, "Be brief."]}
        assert one in settings(wider)


def test_a_name_tells_the_unusual_levels_and_ends_the_recipes() -> None:
    """Factors without their blocks, in the order of the factors; the usual setting adds nothing."""
    names = [one.named("baseline") for one in settings(FACTORS)]
    assert names[:4] == [
        "baseline",
        "baseline [merged=false]",
        "baseline [quantization=nf4]",
        "baseline [quantization=nf4, merged=false]",
    ]
    assert names[-1] == "baseline [r=32, quantization=nf4, merged=false]"
    assert len(set(names)) == len(names)
    assert all(one.named("").strip() in one.named("calm") for one in settings(FACTORS))


def test_levels_that_print_alike_have_names_of_their_own() -> None:
    """Two settings under one name would be read as two seeds of one; other levels stay plain."""
    factors: dict[str, list[Any]] = {
        "system_prompt": ["x", None, "none", "Be  brief.", "Be brief."],
        "lora.r": [8, "8"],
    }
    names = [one.named("a") for one in settings(factors)]
    assert len(set(names)) == len(names) == 10
    plain = settings(factors | {"quantization": [None, "nf4"]})[1]
    assert plain.named("a") == "a [quantization=nf4]"


@pytest.mark.parametrize(
    ("found", "usable"),
    [
        (setting(), {"trained", "adapted", "given"}),
        (setting(quantization="nf4"), {"trained", "adapted", "given"}),
        (setting(vllm__dtype="half"), {"trained", "adapted", "given"}),
        (setting(decodings__top_p=0.5), {"trained", "adapted", "given"}),
        (setting(merged=False), {"trained", "adapted"}),
        (setting(quantization="nf4", merged=False), {"trained", "adapted"}),
        (setting(lora__r=16), {"trained"}),
        (setting(data_subset=1), {"trained"}),
        (setting(quantization="nf4", lora__r=16), {"trained"}),
    ],
)
def test_a_model_has_only_the_settings_that_change_it(found: Setting, usable: set[str]) -> None:
    """Training changes only what is trained here, merging only what carries an adapter."""
    models = {"trained": (True, True), "adapted": (False, True), "given": (False, False)}
    fits = {
        name
        for name, (trained, adapted) in models.items()
        if found.fits(trained=trained, adapted=adapted)
    }
    assert fits == usable


def test_each_level_goes_where_it_belongs() -> None:
    """Into the question, the recipe or the rows: one of the three, with its type and its JSON."""
    found = setting(quantization="nf4", trainer__bf16=True, data_subset=3, decodings__top_p=0.5)
    assert found.asked == {"quantization": "nf4", "decodings.top_p": 0.5}
    assert found.trained == ["trainer.bf16=true"]
    assert found.only(["data_subset", "lora.r"]) == {"data_subset": 3}
    for key in dict(found.values):
        assert is_asked(key) + is_trained(key) + (key == "data_subset") == 1


def test_the_place_is_that_of_the_level_and_not_of_its_value() -> None:
    """1, true and "1" are three levels; factors that a setting does not name are at their first."""
    factors: dict[str, list[Any]] = {"lora.r": [8, 1], "methods.0.on": ["1", True, 1]}
    assert place_of(setting(methods__0__on=True), factors) == (0, 1)
    assert place_of(setting(methods__0__on=1), factors) == (0, 2)
    assert place_of(setting(lora__r=1), factors) == (1, 0)


def test_a_key_within_a_block_changes_that_key_alone() -> None:
    """Its neighbours stay, two keys of a block both arrive, and what was given is left as it is."""
    given = {"engine": "vllm", "decodings": {"top_p": 1.0, "seeds": [0]}, "vllm": {}}
    kept = json.loads(json.dumps(given))
    values = {"engine": "transformers", "decodings.top_p": 0.5, "vllm.dtype": "half", "vllm.tp": 2}
    assert applied(given, values) == {
        "engine": "transformers",
        "decodings": {"top_p": 0.5, "seeds": [0]},
        "vllm": {"dtype": "half", "tp": 2},
    }
    assert given == kept


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, "none"),
        ("nf4", "nf4"),
        (1e-4, "0.0001"),
        (False, "false"),
        ("Speak\n like  a gardener.", "Speak like a gardener."),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "…"),
        ("/models/" + "deep/" * 10 + "gptq", "…" + ("deep/" * 10 + "gptq")[-39:]),
        ("Say yes/no to " + "all " * 10, ("Say yes/no to " + "all " * 10)[:39] + "…"),
        ([1] * 20, json.dumps([1] * 20)[:39] + "…"),
    ],
)
def test_a_level_is_printed_on_one_line_of_at_most_forty(value: Any, printed: str) -> None:
    """White space is one space; a longer text is its beginning, a longer path its end."""
    assert told(value) == printed and len(told(value)) <= 40


def test_a_factor_is_printed_without_its_block() -> None:
    """The last part of the key, which is the whole of one without a block."""
    assert [short("methods.0.share"), short("merged")] == ["share", "merged"]


def test_a_key_may_lie_deeper() -> None:
    """A block of a block is made where there is none, and nothing beside it is lost."""
    whole = {"vllm": {"dtype": "auto"}, "engine": "vllm"}
    changed = applied(whole, {"vllm.compilation_config.level": 3})
    assert changed == {
        "vllm": {"dtype": "auto", "compilation_config": {"level": 3}},
        "engine": "vllm",
    }
