"""A model's layers by number, and LoRA's arguments that leave some of them out."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from safeft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Blocks:
    """The list of layers of a decoder: its name in the model, and the modules in each layer."""

    name: str
    count: int
    modules: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> Blocks:
        """Those of a causal language model, with weights or without. Raises ConfigError."""
        import torch

        count = model.config.get_text_config(decoder=True).num_hidden_layers
        inside = {id(one) for one in model.get_decoder().modules()}
        for name, module in model.named_modules():
            listed = isinstance(module, torch.nn.ModuleList) and len(module) == count
            if listed and id(module) in inside:
                modules = (one for one, _ in model.named_modules() if one.startswith(f"{name}."))
                return cls(name, count, tuple(modules))
        raise ConfigError(
            f"freeze_layers: {type(model).__name__} has no list of {count} layers to be found; "
            "write the modules to leave out as lora.exclude_modules"
        )

    def without(self, frozen: Collection[int], lora: dict[str, Any]) -> dict[str, Any]:
        """LoRA's arguments, with all modules of these layers left out beside what was before.

        Raises ConfigError for a layer that is not there, when no layer is left, and when
        `modules_to_save` would train one of them whole.
        """
        if absent := sorted(one for one in set(frozen) if one >= self.count):
            raise ConfigError(
                f"freeze_layers: layers {absent}: the model has {self.count}, from 0 to "
                f"{self.count - 1}"
            )
        self._refuse_all(frozen, lora.get("layers_to_transform"))
        inside = [one for one in self.modules if self._number(one) in frozen]
        self._refuse_saved(inside, lora.get("modules_to_save") or ())
        return lora | {"exclude_modules": self._excluded(frozen, inside, lora)}

    def _excluded(self, frozen: Collection[int], inside: list[str], lora: dict[str, Any]) -> Any:
        """As a regular expression, unless the recipe has a list already."""
        given = lora.get("exclude_modules")
        if isinstance(given, list | tuple | set):
            return [*given, *inside]
        numbers = "|".join(str(one) for one in sorted(set(frozen)))
        ours = rf"{re.escape(self.name)}\.({numbers})\..+"
        # Not in a group: flags of theirs may only stand at the beginning.
        return f"{given}|{ours}" if given else ours

    def _number(self, module: str) -> int:
        return int(module[len(self.name) + 1 :].partition(".")[0])

    def _refuse_all(self, frozen: Collection[int], chosen: Any) -> None:
        wanted = range(self.count) if chosen in (None, []) else chosen
        wanted = [wanted] if isinstance(wanted, int) else wanted
        if not set(wanted) - set(frozen):
            where = "lora.layers_to_transform" if chosen not in (None, []) else "the model"
            raise ConfigError(
                f"freeze_layers: layers {sorted(set(frozen))} are all of {where}, and nothing "
                "would be left to train; freeze fewer"
            )

    def _refuse_saved(self, inside: list[str], saved: Collection[str]) -> None:
        for name in saved:
            if hit := next((one for one in inside if one == name or one.endswith(f".{name}")), ""):
                raise ConfigError(
                    f"lora.modules_to_save: {name!r} would train {hit}, which freeze_layers keeps; "
                    "leave it out"
                )
