"""A checkpoint's adapter read into the very weights that are trained, in their precision.

Beside quantised weights TRL trains LoRA in bfloat16. PEFT, which reads a checkpoint's adapter anew,
would go on in float32 and with other parameters than those that a method holds (an average).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


@cache
def resuming_trainer(kind: Any) -> Any:
    """A trainer's class that reads checkpoints so."""
    return type(f"Resuming{kind.__name__}", (Resuming, kind), {})


class Resuming:
    """What stands before SFTTrainer where PEFT would change what is trained."""

    def _load_from_checkpoint(self: Any, checkpoint: str, model: Any = None) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        del model
        stored = load_file(Path(checkpoint) / "adapter_model.safetensors")
        set_peft_model_state_dict(self.model, stored)
