"""A PEFT adapter's folder: its updates by module name, and the same folder with some changed.

Every LoRA update is scale · B A, with A of shape (rank, inputs) and B of shape (outputs, rank).
What else the folder holds (`modules_to_save`, biases, trained tokens) goes through untouched.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeft.errors import ModelError, first_line
from safeft.models.load import check_adapter
from safeft.runs import write_json

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
_FACTOR = re.compile(r"^(?P<name>.+)\.lora_(?P<embedding>embedding_)?A(?:\.weight)?$")
# Initialisations that change the model's own weights: the update is scale · (BA - B₀A₀).
MOVED = ("pissa", "corda", "olora", "loftq", "lora_ga")
# What servers read beside the adapter, where the tuning added tokens or a system prompt.
_COMPANIONS = (
    "inference.json",
    "chat_template.jinja",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
)


@dataclass(frozen=True, slots=True)
class LoraModule:
    """One module's update scale · B A in float32.

    `transposed`: the model stores this weight as (inputs, outputs), as embeddings and Conv1D do.
    """

    name: str
    a: Tensor
    b: Tensor
    scale: float
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's folder; its tensors are read when they are asked for."""

    folder: Path
    config: dict[str, Any]
    keys: tuple[str, ...]
    factors: dict[str, tuple[str, str]]  # module → the keys of A and B

    @property
    def names(self) -> tuple[str, ...]:
        """The modules with a LoRA update, as the model calls them."""
        return tuple(self.factors)

    @property
    def others(self) -> int:
        """How many tensors are no factor of an update: `modules_to_save`, biases, tokens."""
        return len(self.keys) - 2 * len(self.factors)

    def tensor(self, key: str) -> Tensor:
        """A tensor as it is stored."""
        from safetensors import safe_open

        with safe_open(self.folder / WEIGHTS, "pt") as file:
            found: Tensor = file.get_tensor(key).clone()  # or it would hold the file in memory
        return found

    def ranks(self) -> dict[str, int]:
        """The rank of each module's update, from the file's header."""
        from safetensors import safe_open

        with safe_open(self.folder / WEIGHTS, "pt") as file:
            return {name: file.get_slice(a).get_shape()[0] for name, (a, _) in self.factors.items()}

    def module(self, name: str) -> LoraModule:
        """The update of a module. Raises ModelError unless A and B are two thin matrices."""
        a, b = (self.tensor(key).float() for key in self.factors[name])
        if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
            raise ModelError(
                f"adapter {self.folder}: {name} has factors of shape {tuple(b.shape)} and "
                f"{tuple(a.shape)}, which are no pair of thin matrices (a convolution?); leave it "
                "out of target_modules, or use the edit `scale`"
            )
        embedding = self.factors[name][0].endswith("lora_embedding_A")
        transposed = embedding or bool(self.config.get("fan_in_fan_out"))
        return LoraModule(name, a, b, self.scale(name, a.shape[0]), transposed)

    def scale(self, name: str, rank: int) -> float:
        """alpha / rank, or alpha / √rank for rank-stabilised LoRA (arXiv 2312.03732)."""
        usual = self.config.get("lora_alpha", 8)  # PEFT's own default
        alpha = _matched(self.config.get("alpha_pattern") or {}, name, usual)
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def write(
        self,
        target: Path,
        changed: Mapping[str, Tensor],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """The folder as `target`, with some tensors and settings of its own, whole or not at all.

        The tensors keep the type that they are stored in.
        """
        from safetensors.torch import load_file, save_file

        tensors = load_file(self.folder / WEIGHTS)
        for key, value in changed.items():
            tensors[key] = value.to(tensors.get(key, value).dtype).contiguous()
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        write_json(partial / CONFIG, self.config | dict(settings or {}))
        for pattern in _COMPANIONS:
            for path in self.folder.glob(pattern):
                shutil.copy2(path, partial / path.name)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


def open_adapter(folder: Path) -> Adapter:
    """The adapter of a folder, whoever trained it.

    Raises ModelError when the folder holds none, or one that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    check_adapter(folder)
    try:
        config = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")).items())
        with safe_open(folder / WEIGHTS, "pt") as file:
            keys = tuple(file.keys())
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise ModelError(
            f"adapter {folder}: damaged ({first_line(error)}); copy it there again"
        ) from error
    if "lora_alpha" in config and not _is_positive(config["lora_alpha"]):
        raise ModelError(
            f"adapter {folder}: {CONFIG} has lora_alpha {config['lora_alpha']!r}, which is no "
            "number above 0; mend it"
        )
    factors = _factors(keys)
    if lone := next((a for a, b in factors.values() if b not in keys), None):
        raise ModelError(f"adapter {folder}: {lone} has no B beside it; copy it there again")
    return Adapter(folder, config, keys, factors)


def open_product(folder: Path, edit: str, *more: str) -> Adapter:
    """The adapter of a folder, once it is known to be of thin matrices, one pair a module.

    `more` are other keys of adapters that the edit does not know. Raises ModelError, naming it.
    """
    found = open_adapter(folder)
    refuse_unlike_lora(found, edit)
    _refuse_unlike_matrices(found, edit, *more)
    return found


def open_whole(folder: Path, edit: str, *more: str) -> Adapter:
    """The same of an adapter that is given beside the edited one: all of it must be products."""
    found = open_product(folder, edit, *more)
    if found.others:
        raise ModelError(
            f"{edit}: adapter {folder}: holds {found.others} tensors beside LoRA (modules_to_save, "
            "biases, embeddings), which this edit would leave out; train it without"
        )
    return found


def refuse_unlike_lora(adapter: Adapter, edit: str) -> None:
    """Raises ModelError, naming the edit, for an update that is not scale · B A."""
    config, place = adapter.config, f"{edit}: adapter {adapter.folder}"
    if (kind := config.get("peft_type")) != "LORA":
        raise ModelError(f"{place}: is {kind}, no LoRA; train LoRA, or use `realign`")
    if config.get("use_dora") or any("lora_magnitude_vector" in key for key in adapter.keys):
        raise ModelError(
            f"{place}: is DoRA, which also rescales the model's own weights, so that its update is "
            "no product B A; train it with use_dora: false, or use `realign`"
        )
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(MOVED):
        raise ModelError(
            f"{place}: began as {start}, which changes the model's own weights, so that B A alone "
            "is not its update; save it with path_initial_model_for_weight_conversion (PEFT)"
        )


def _refuse_unlike_matrices(adapter: Adapter, edit: str, *more: str) -> None:
    """Raises ModelError for LoRA on bare parameters or biases, which belong to no one matrix."""
    for key in ("target_parameters", "lora_bias", *more):
        if adapter.config.get(key):
            raise ModelError(
                f"{edit}: adapter {adapter.folder}: has {key}, which this edit does not know; "
                "train it without, or use the edit `scale`"
            )
    if not adapter.names:
        raise ModelError(f"{edit}: adapter {adapter.folder}: holds no LoRA module; nothing to edit")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _factors(keys: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    found = {}
    for key in keys:
        if match := _FACTOR.match(key):
            other = f"{key[: match.end('name')]}{key[match.end('name') :].replace('A', 'B', 1)}"
            found[match["name"].removeprefix(PREFIX)] = (key, other)
    return dict(sorted(found.items()))


def _matched(pattern: Mapping[str, Any], name: str, default: Any) -> Any:
    """The value of the first key that is the module's name or its end, as PEFT matches them."""
    hits = (value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", name))
    return next(hits, default)
