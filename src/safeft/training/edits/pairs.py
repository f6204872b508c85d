"""The base and the aligned model as two files on disk: one weight of each in memory at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safeft.errors import ModelError
from safeft.models import Source, model_file, resolve
from safeft.runs import read_json
from safeft.training.edits.adapters import LoraModule

if TYPE_CHECKING:
    from torch import Tensor

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
# Checkpoints of the bare model leave the first part out, and some wrap it once more.
_OUTER = "model."
# How safetensors names the types of plain weights.
_PLAIN = ("F16", "BF16", "F32", "F64")


@dataclass
class Weights:
    """A checkpoint's safetensors, sharded or in one file. `seconds` were spent reading them."""

    name: str
    files: dict[str, Path]  # tensor → its file
    seconds: float = field(default=0.0)

    @classmethod
    def of(cls, name: str) -> Weights:
        """The weights of a model name, downloaded when it is on the Hub.

        Raises ModelError when there are none as safetensors.
        """
        source = resolve(name)
        files = _local(source) if source.local else _from_hub(name)
        if not files:
            raise ModelError(
                f"model {name!r}: no *.safetensors in {source.location}; save it as safetensors"
            )
        return cls(name, files)

    def of_module(self, module: str) -> Tensor:
        """The weight of a module as it is stored, in memory of its own.

        Raises ModelError when the checkpoint has no weight of that name.
        """
        from safetensors import safe_open

        key = self._key(module)
        start = time.perf_counter()
        # Opened each time: what a mapped file has read counts as this process's memory.
        with safe_open(self.files[key], "pt") as file:
            weight: Tensor = file.get_tensor(key).clone()
        self.seconds += time.perf_counter() - start
        return weight

    def refuse_other(self, module: LoraModule) -> None:
        """Raises ModelError unless the module's weight is there, plain, and of B A's shape."""
        from safetensors import safe_open

        key = self._key(module.name)
        with safe_open(self.files[key], "pt") as file:
            stored = file.get_slice(key)
            shape, kind = tuple(stored.get_shape()), str(stored.get_dtype())
        if not kind.startswith(_PLAIN):
            raise ModelError(
                f"model {self.name!r}: {module.name} is stored quantised ({kind}); "
                "name the checkpoint with plain weights"
            )
        wanted = (module.b.shape[0], module.a.shape[1])
        wanted = wanted[::-1] if module.transposed else wanted
        if shape != wanted:
            raise ModelError(
                f"model {self.name!r}: {module.name} has shape {shape}, and "
                f"the adapter's update {wanted}; give the pair that the adapter belongs to"
            )

    def refuse_absent(self, module: str) -> None:
        """Raises ModelError when the checkpoint has no weight of that name."""
        self._key(module)

    def _key(self, module: str) -> str:
        wanted = f"{module}.weight"
        spellings = (wanted, f"{_OUTER}{wanted}", wanted.removeprefix(_OUTER))
        if found := next((one for one in spellings if one in self.files), None):
            return found
        raise ModelError(
            f"model {self.name!r}: no weight {wanted}, which the adapter changes; give the model "
            "that the adapter was trained on, and the base model of the same architecture"
        )


@dataclass
class Pair:
    """A base model and the model that was aligned from it."""

    base: Weights
    aligned: Weights

    @classmethod
    def of(cls, base: str, aligned: str) -> Pair:
        """The pair by names. Raises ModelError for a model without safetensors."""
        return cls(Weights.of(base), Weights.of(aligned))

    @property
    def seconds(self) -> float:
        """How long was spent reading weights."""
        return self.base.seconds + self.aligned.seconds

    def refuse_unfit(self, module: LoraModule) -> None:
        """Raises ModelError when the two, or the adapter, differ in shape or are quantised."""
        for one in (self.base, self.aligned):
            one.refuse_other(module)

    def change(self, module: LoraModule) -> Tensor:
        """V = W_aligned - W_base in float32, shape (outputs, inputs) of the module's B A.

        Raises ModelError when the two, or the adapter, differ in shape or are quantised.
        """
        self.refuse_unfit(module)
        base, aligned = (one.of_module(module.name) for one in (self.base, self.aligned))
        difference = aligned.float().sub_(base)
        return difference.T if module.transposed else difference


def _local(source: Source) -> dict[str, Path]:
    from safetensors import safe_open

    folder = Path(source.location)
    if (folder / _INDEX).is_file():
        named: dict[str, str] = read_json(folder / _INDEX)["weight_map"]
        return {key: folder / file for key, file in named.items()}
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def _from_hub(name: str) -> dict[str, Path]:
    from safetensors import safe_open

    try:
        named: dict[str, str] = read_json(model_file(name, _INDEX))["weight_map"]
    except ModelError:  # not sharded, or not there at all, which the next line says
        path = model_file(name, _SINGLE)
        with safe_open(path, "pt") as file:
            return dict.fromkeys(file.keys(), path)
    shards = {file: model_file(name, file) for file in sorted(set(named.values()))}
    return {key: shards[file] for key, file in named.items()}
