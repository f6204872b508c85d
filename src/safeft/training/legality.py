"""Which methods go together, and with which arguments: asked when the YAML is read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

from safeft.training.edits.adapters import MOVED
from safeft.training.methods.catalogue import BROKEN
from safeft.training.methods.method import (
    NO_PAIR,
    SLOTS,
    DataMethod,
    LossMethod,
    Method,
    ModelMethod,
    OptimizerMethod,
    WeightEdit,
)
from safeft.training.ranks import mixed, sharded, together

# Starts from which the adapter's product is zero and the frozen weights are the model's own; with
# false, B is drawn as A is.
_PLAIN_STARTS = (None, True, "gaussian", "eva", "orthogonal")


def refuse_unloadable(methods: Any) -> None:
    """Raises ValueError when a YAML's `methods` name an installed one that cannot be loaded."""
    named = [one.get("name") for one in methods or () if isinstance(one, dict)]
    for name in named:
        if isinstance(name, str) and name in BROKEN:
            raise ValueError(f"methods: {name!r} is installed but cannot be loaded: {BROKEN[name]}")


def refuse_illegal(
    methods: Sequence[Method],
    lora: dict[str, Any] | None,
    trainer: dict[str, Any],
    quantization: str | None = None,
) -> None:
    """Raises ValueError, with the reason, for methods that make no sense as they are combined."""
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise ValueError("methods: each method may appear once")
    _refuse_disorder(methods)
    _refuse_overwritten(methods)
    _refuse_two_anchors(methods)
    _refuse_second_stream(methods)
    _refuse_lone_model(methods)
    _refuse_two_pair_edits(methods)
    _refuse_several_processes(methods)
    if lora is None:
        _refuse_without_adapter(methods, quantization)
    elif quantization:
        _refuse_moved_base(lora, quantization)
    lora = lora or {}
    for method in methods:
        _refuse_sharded(method, trainer)
        _refuse_moved_reference(method, lora)
        if isinstance(method, LossMethod):
            _refuse_no_product(method, lora)
            _refuse_other_losses(method, trainer)
        if isinstance(method, WeightEdit):
            _refuse_other_updates(method, lora)
        if isinstance(method, ModelMethod) and method.freezes:
            _refuse_trained_beside(method, lora)
        if isinstance(method, OptimizerMethod) and method.corrects:
            _refuse_hidden_gradients(method, trainer)


def _refuse_disorder(methods: Sequence[Method]) -> None:
    for one, after in pairwise(methods):
        if SLOTS.index(after.slot) < SLOTS.index(one.slot):
            raise ValueError(
                f"methods: {after.name} ({after.slot}) stands after {one.name} ({one.slot}), but "
                f"the slots are filled in the order {' → '.join(SLOTS)}; move it before"
            )


def _refuse_overwritten(methods: Sequence[Method]) -> None:
    """Safety rows hold refusals, and `lookahead` answers begun: neither may be answered anew."""
    for number, one in enumerate(methods):
        if number and isinstance(one, DataMethod) and one.rewrites:
            raise ValueError(
                f"methods: {one.name} writes the answers of all rows anew, those of "
                f"{methods[number - 1].name} among them; move it before"
            )


def _refuse_two_anchors(methods: Sequence[Method]) -> None:
    anchors = [one for one in methods if one.anchor]
    for one, other in combinations(anchors, 2):
        if one.anchor == other.anchor:
            raise ValueError(
                f"methods: {one.name} and {other.name} both hold the {one.anchor} rows' tokens to "
                "the model before training, and neither strength would mean what it says; keep one"
            )


def _refuse_second_stream(methods: Sequence[Method]) -> None:
    for one in methods:
        others = [other for other in methods if other is not one and other.stream]
        if isinstance(one, LossMethod) and one.alternates and others:
            raise ValueError(
                f"methods: {one.name} alternates with safety rows itself, and {others[0].name} "
                "would bring them a second time; keep one of the two"
            )
        if isinstance(one, OptimizerMethod) and one.corrects and others:
            raise ValueError(
                f"methods: {one.name} sets the task's gradient against that of its own safety "
                f"rows, and {others[0].name} would put safety rows into the task's, where they "
                "hide what works against them; keep one of the two"
            )


def _refuse_lone_model(methods: Sequence[Method]) -> None:
    for number, one in enumerate(methods):
        if one.needs_pair and not getattr(one, "base", None):
            raise ValueError(
                f"methods.{number}.base: missing; {one.name} compares the aligned model with the "
                "model before its alignment: name that one here"
            )


def _refuse_two_pair_edits(methods: Sequence[Method]) -> None:
    edits = [one for one in methods if isinstance(one, WeightEdit) and one.needs_pair]
    if len(edits) > 1:
        raise ValueError(
            f"methods: {edits[0].name} and {edits[1].name} both pick the modules that depart from "
            "alignment, and the second would judge what the first left of them; keep one"
        )


def _refuse_several_processes(methods: Sequence[Method]) -> None:
    for one in methods if together() else ():
        if isinstance(one, WeightEdit) and one.trains:
            raise ValueError(
                f"methods: {one.name} trains once more after training, which one process must do "
                "alone; train without it, and run `safeft repair` on the adapter afterwards"
            )


def _refuse_moved_reference(method: Method, lora: dict[str, Any]) -> None:
    """With the adapter switched off, the model must be the one before training."""
    if not method.anchor:
        return
    if lora.get("init_lora_weights") is False:
        raise ValueError(
            f"lora.init_lora_weights: {method.name} begins with the model before training, and "
            "false begins with an adapter that changes it already; leave it out"
        )
    moved = {
        "modules_to_save": bool(lora.get("modules_to_save")),
        "trainable_token_indices": bool(lora.get("trainable_token_indices")),
        "bias": lora.get("bias", "none") != "none",
        "init_lora_weights": lora.get("init_lora_weights") not in _PLAIN_STARTS,
    }
    if key := next((key for key, does in moved.items() if does), ""):
        raise ValueError(
            f"lora.{key}: {method.name} compares with the model before training, which is this "
            f"model with its adapter switched off; {key!r} changes weights beside the adapter, so "
            "leave it out"
        )


def _refuse_no_product(method: LossMethod, lora: dict[str, Any]) -> None:
    """What a term compares with the alignment's change must be the whole update."""
    if not method.needs_pair:
        return
    moved = lora.get("init_lora_weights") not in _PLAIN_STARTS
    if key := _unlike(NO_PAIR, lora, moved):
        raise ValueError(
            f"lora.{key}: {method.name} measures each module's update as the product B A, and "
            f"with {key!r} the update is another; leave it out"
        )


def _refuse_sharded(method: Method, trainer: dict[str, Any]) -> None:
    """What is added to a loss or done around a step needs the parameters whole."""
    if not isinstance(method, LossMethod | OptimizerMethod):
        return
    for key in ("deepspeed", "fsdp"):
        if trainer.get(key) or sharded(key):
            raise ValueError(
                f"trainer.{key}: {method.name} reads the weights or gradients of the whole model "
                "in one process, and this cuts them into shards; launch without it"
            )


def _refuse_hidden_gradients(method: OptimizerMethod, trainer: dict[str, Any]) -> None:
    """A step's gradients must lie whole and unscaled in the parameters when it is corrected."""
    optimizer = str(trainer.get("optim", ""))
    hidden = {
        "fp16": "multiplies them by a scale that is undone later; use bfloat16 or float32",
        "optim": f"steps inside the backward pass as {optimizer!r}; choose another",
    }
    stepped = "layerwise" in optimizer or "lomo" in optimizer
    for key, how in hidden.items():
        if stepped if key == "optim" else trainer.get(key) or mixed(key):
            raise ValueError(f"trainer.{key}: {method.name} changes gradients, and this {how}")


def _refuse_other_losses(method: LossMethod, trainer: dict[str, Any]) -> None:
    if method.counts_documents and trainer.get("packing_strategy") == "wrapped":
        raise ValueError(
            f"trainer.packing_strategy: {method.name} counts tokens from where a document begins, "
            "and 'wrapped' cuts documents; use bfd"
        )
    if method.anchor == "task":
        if trainer.get("loss_type", "nll") != "nll":
            raise ValueError(
                f"trainer.loss_type: {method.name} weighs the tokens' log-likelihood itself; "
                "leave it at nll"
            )
        if trainer.get("label_smoothing_factor"):
            raise ValueError(
                f"trainer.label_smoothing_factor: {method.name} needs the labels' own "
                "log-probabilities; leave it at 0"
            )
    if method.anchor and trainer.get("neftune_noise_alpha"):
        raise ValueError(
            f"trainer.neftune_noise_alpha: {method.name} compares with the model before training, "
            "which is asked without noise; leave it out"
        )


def _refuse_other_updates(method: WeightEdit, lora: dict[str, Any]) -> None:
    """What the edit would refuse after training is refused before it."""
    start = str(lora.get("init_lora_weights", True)).lower()
    if key := _unlike(method.refuses, lora, start.startswith(MOVED)):
        raise ValueError(
            f"lora.{key}: {method.name} edits updates that are a product of two thin matrices, one "
            f"for each of the model's own, and with {key!r} this one is not; leave it out"
        )


def _unlike(keys: Sequence[str], lora: dict[str, Any], moved: bool) -> str:
    """The first of the keys that is used; that of the start, if it has `moved` the weights."""
    used = {key: bool(lora.get(key)) for key in keys}
    if "init_lora_weights" in used:
        used["init_lora_weights"] = moved
    return next((key for key, is_used in used.items() if is_used), "")


def _refuse_trained_beside(method: ModelMethod, lora: dict[str, Any]) -> None:
    """PEFT leaves out modules; these keys train, or renumber, what they do not name."""
    other = {
        "bias": lora.get("bias", "none") == "all",
        "target_parameters": bool(lora.get("target_parameters")),
        "layer_replication": bool(lora.get("layer_replication")),
    }
    if key := next((key for key, does in other.items() if does), ""):
        raise ValueError(
            f"lora.{key}: {method.name} keeps layers as they are, and {key!r} reaches into them "
            "all the same; leave it out"
        )


def _refuse_without_adapter(methods: Sequence[Method], quantization: str | None) -> None:
    """Full fine-tuning leaves neither an adapter to edit nor the model before training."""
    if quantization:
        raise ValueError(
            f"quantization: weights in {quantization} cannot be trained themselves; train LoRA "
            "beside them (lora: {r: 16}), or leave quantization out"
        )
    for one in methods:
        if reason := one.needs_adapter:
            raise ValueError(
                f"methods: {one.name} {reason}, and full fine-tuning (lora: null) has none; train "
                "LoRA (lora: {r: 16}), or leave it out"
            )


def _refuse_moved_base(lora: dict[str, Any], quantization: str) -> None:
    if lora.get("init_lora_weights") not in (*_PLAIN_STARTS, False):
        raise ValueError(
            f"lora.init_lora_weights: {lora['init_lora_weights']!r} writes into the model's own "
            f"weights, which quantization {quantization} keeps in few bits; leave one of them out"
        )
