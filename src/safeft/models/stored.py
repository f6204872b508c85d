"""Checkpoints that come quantised (GPTQ, AWQ, FP8): vLLM serves them, Transformers needs more."""

from __future__ import annotations

from typing import Any

from safeft.errors import first_line
from safeft.models.load import load_config


def is_quantised(name: str, *, trust_remote_code: bool = False) -> bool:
    """Whether a checkpoint's weights are stored quantised. Raises ModelError without a config."""
    return _method(name, trust_remote_code) is not None


def unreadable(name: str, *, trust_remote_code: bool = False) -> str:
    """Why Transformers cannot load a quantised checkpoint here; empty when nothing is missing.

    Raises ModelError without a config.
    """
    if (method := _method(name, trust_remote_code)) is None:
        return ""
    import torch
    from transformers.quantizers import AutoHfQuantizer

    place = "cuda" if torch.cuda.is_available() else None
    try:
        AutoHfQuantizer.from_config(method, pre_quantized=True).validate_environment(
            device_map=place
        )
    except Exception as error:  # each method has its own ways to say what it lacks
        return first_line(error)
    return ""


def _method(name: str, trust_remote_code: bool) -> Any:
    """What the config says of how the weights are stored; None when they are plain."""
    config = load_config(name, trust_remote_code=trust_remote_code)
    return getattr(config, "quantization_config", None)
