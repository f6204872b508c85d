"""Quantised weights: bitsandbytes when a model is loaded, on accelerators and on CPUs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, get_args

from safeft.errors import ConfigError, did_you_mean

Quantization = Literal["int8", "nf4", "fp4"]
KINDS: tuple[str, ...] = get_args(Quantization)
_LAYERS = ("Linear4bit", "Linear8bitLt")


def quantization_config(kind: str, dtype: str) -> Any:
    """What `from_pretrained` needs to load a model in 8 bits (LLM.int8, arXiv 2208.07339) or in 4.

    nf4 and fp4 are the data types of QLoRA (arXiv 2305.14314), without double quantisation; `dtype`
    is what the 4-bit products are computed in. Raises ConfigError for another kind, and where
    bitsandbytes is missing.
    """
    check_quantization(kind)
    import torch
    from transformers import BitsAndBytesConfig

    # It tells of each product that it is made in float16, and has no switch.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def check_quantization(kind: str) -> None:
    """Raises ConfigError for a kind that there is not, or that lacks its library here."""
    if kind not in KINDS:
        raise ConfigError(f"quantization: no {kind!r}{did_you_mean(kind, KINDS)}")
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"quantization: {kind} needs bitsandbytes: pip install bitsandbytes, or leave "
            "quantization out"
        )


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Inside, a model computes without dropout, and can be trained afterwards.

    In evaluation mode on a CPU bitsandbytes multiplies otherwise: in 8 bits with another result
    than in training, and 4-bit weights are packed for it, for good and with no gradient through
    them. So its layers stay as they are in training.
    """
    training = model.training
    model.eval()
    for module in model.modules():
        if type(module).__name__ in _LAYERS:
            module.training = True
    try:
        yield
    finally:
        model.train(training)
