"""Checkpoints in the forms that AutoGPTQ, AutoAWQ and FP8 tools write, rounded to the nearest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

GROUP = 32  # inputs that share a scale
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # of eight outputs in one of AWQ's words
Tensors = dict[str, Any]


def gptq(name: str, weight: Any) -> Tensors:
    """Four bits, symmetric: words of eight inputs; the zero point 8 is stored as 7."""
    import torch

    scales = weight.view(-1, GROUP, weight.shape[1]).abs().amax(1) / 7
    levels = (weight / scales.repeat_interleave(GROUP, 0)).round().clamp(-8, 7) + 8
    return {
        f"{name}.qweight": _words(levels.T.reshape(levels.shape[1], -1, 8)).T.contiguous(),
        f"{name}.qzeros": _words(torch.full((len(scales), weight.shape[1] // 8, 8), 7)),
        f"{name}.scales": scales.half(),
        f"{name}.g_idx": torch.arange(len(weight), dtype=torch.int32) // GROUP,
    }


def awq(name: str, weight: Any) -> Tensors:
    """Four bits with zero points: words of eight outputs, interleaved."""
    grouped = weight.view(-1, GROUP, weight.shape[1])
    low, high = grouped.amin(1).clamp(max=0), grouped.amax(1).clamp(min=0)
    scales = (high - low).clamp(min=1e-6) / 15
    zeros = (-low / scales).round().clamp(0, 15)
    spread = [one.repeat_interleave(GROUP, 0) for one in (scales, zeros)]
    levels = ((weight / spread[0]).round() + spread[1]).clamp(0, 15)
    return {
        f"{name}.qweight": _words(levels.view(len(levels), -1, 8)[..., ORDER]),
        f"{name}.qzeros": _words(zeros.view(len(zeros), -1, 8)[..., ORDER]),
        f"{name}.scales": scales.half(),
    }


def fp8(name: str, weight: Any) -> Tensors:
    """Eight-bit floats with one scale a matrix."""
    import torch

    scale = weight.abs().max() / 448
    small = (weight / scale).T.contiguous().to(torch.float8_e4m3fn)
    return {f"{name}.weight": small, f"{name}.weight_scale": scale.reshape(1).float()}


FORMS: dict[str, tuple[Callable[[str, Any], Tensors], dict[str, Any]]] = {
    "gptq": (gptq, {"bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}),
    "awq": (awq, {"bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}),
    "fp8": (fp8, {"activation_scheme": "dynamic", "ignored_layers": ["lm_head"]}),
}


def quantised(model: Path, form: str, folder: Path) -> Path:
    """A copy of a Transformers folder whose linear layers are stored in this form."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    pack, method = FORMS[form]
    stored: Tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if ".self_attn." in name or ".mlp." in name:
            stored |= pack(name.removesuffix(".weight"), tensor.float().T.contiguous())
        else:
            stored[name] = tensor
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": form, **method}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _words(levels: Any) -> Any:
    """Eight levels of four bits each, along the last axis, in one 32-bit word."""
    import torch

    shifts = torch.arange(0, 32, 4, dtype=torch.int64)
    return (levels.to(torch.int64) << shifts).sum(-1).to(torch.int32)
