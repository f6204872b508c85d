"""The updates of a model in training, as an adapter's folder would hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safeft.errors import ModelError
from safeft.training.edits.adapters import PREFIX, LoraModule


def layers(model: Any, method: str) -> Iterator[LoraModule]:
    """Each adapted module of a PEFT model, by name; A and B are the trained parameters themselves.

    Raises ModelError, naming the method, for a module whose update is no product of two thin
    matrices.
    """
    from peft.tuners.lora import LoraLayer

    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            yield _layer(name.removeprefix(PREFIX), layer, method)


def _layer(name: str, layer: Any, method: str) -> LoraModule:
    (adapter,) = layer.active_adapters
    embedding = adapter in layer.lora_embedding_A
    if embedding:
        a, b = layer.lora_embedding_A[adapter], layer.lora_embedding_B[adapter]
    else:
        a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
        raise ModelError(
            f"{method}: {name} has factors of shape {tuple(b.shape)} and {tuple(a.shape)}, which "
            "are no pair of thin matrices (a convolution?); leave it out of target_modules"
        )
    turned = embedding or bool(getattr(layer, "fan_in_fan_out", False))
    return LoraModule(name, a, b, float(layer.scaling[adapter]), turned)
