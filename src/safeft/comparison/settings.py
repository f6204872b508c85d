"""Factors: what else varies beside recipe, seeds and decodings, and every combination of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Factors of asking: models that were trained before differ in them too. All others are keys of
# the recipe, or say which rows are trained on.
ASKED = (
    "engine",
    "checkpoint",
    "quantization",
    "merged",
    "system_prompt",
    "chat_template",
    "decodings.top_p",
)
DATA = ("data_subset",)
ADAPTERS_ONLY = ("merged",)


@dataclass(frozen=True, slots=True)
class Setting:
    """One combination: the factors that do not have their first level, values as JSON.

    `label` says them in a name that no other combination has.
    """

    values: tuple[tuple[str, str], ...] = ()
    label: str = ""

    def __bool__(self) -> bool:
        """False for the usual one, in which every factor has its first level."""
        return bool(self.values)

    def only(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values of these factors."""
        return {key: json.loads(value) for key, value in self.values if key in keys}

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked differently of a model that may be trained already."""
        return {key: json.loads(value) for key, value in self.values if is_asked(key)}

    @property
    def trained(self) -> list[str]:
        """Overrides of the recipe."""
        return [f"{key}={value}" for key, value in self.values if is_trained(key)]

    def fits(self, *, trained: bool, adapted: bool) -> bool:
        """Whether a model that is trained here, or carries an adapter, is another one in it."""
        return all(
            trained or (is_asked(key) and (adapted or key not in ADAPTERS_ONLY))
            for key, _ in self.values
        )

    def named(self, recipe: str) -> str:
        """The recipe's name in this setting: `baseline [quantization=nf4]`."""
        return f"{recipe} [{self.label}]" if self.values else recipe


def is_asked(factor: str) -> bool:
    """Whether a factor leaves the training as it is."""
    return factor in ASKED or factor.startswith("vllm.")


def is_trained(factor: str) -> bool:
    """Whether a factor is a key of the recipe."""
    return not is_asked(factor) and factor not in DATA


def short(factor: str) -> str:
    """A factor's name without the block that it lies in."""
    return factor.rpartition(".")[2]


def told(value: Any) -> str:
    """A level as it is printed: long texts by their beginning, long paths by their end."""
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    line = " ".join(text.split())
    if len(line) <= 40:
        return line
    # A path of one word: what tells it from its neighbours is its end.
    return f"…{line[-39:]}" if "/" in line and " " not in line else f"{line[:39]}…"


def settings(factors: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """Every combination; the first is the usual one."""
    levels = [[(key, json.dumps(value)) for value in values] for key, values in factors.items()]
    usual = [one[0] for one in levels]
    labels = _labels(factors)
    found = []
    for chosen in itertools.product(*levels):
        other = [one for one, first in zip(chosen, usual, strict=True) if one != first]
        found.append(Setting(tuple(other), ", ".join(labels[one] for one in other)))
    return found


def _labels(factors: Mapping[str, Sequence[Any]]) -> dict[tuple[str, str], str]:
    """How each level is printed: shortly, and like no other."""
    labels = {}
    for key, values in factors.items():
        alone = [short(one) for one in factors].count(short(key)) == 1
        texts = [told(value) for value in values]
        for number, (value, text) in enumerate(zip(values, texts, strict=True), 1):
            clear = text if texts.count(text) == 1 else f"{text} #{number}"
            labels[key, json.dumps(value)] = f"{short(key) if alone else key}={clear}"
    return labels


def place_of(setting: Setting, factors: Mapping[str, Sequence[Any]]) -> tuple[int, ...]:
    """Which level of each factor it has."""
    chosen = dict(setting.values)
    return tuple(
        [json.dumps(one) for one in values].index(chosen.get(key, json.dumps(values[0])))
        for key, values in factors.items()
    )


def applied(dumped: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison as plain values, with some keys changed; `decodings.top_p` lies in a block."""
    changed = dict(dumped)
    for key, value in values.items():
        block, _, rest = key.partition(".")
        inside = changed.get(block)
        # A key of a block that is not there yet makes it.
        own = inside if isinstance(inside, Mapping) else {}
        changed[block] = applied(own, {rest: value}) if rest else value
    return changed
