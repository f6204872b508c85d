"""What the tiny Llama is asked, and what it says."""

from __future__ import annotations

from typing import Any

ASKED = ["how does one grow", "water a plant in the garden with the", "the and"]
NEW = {"max_new_tokens": 12, "do_sample": False}
WHOLE = {"window": 10_000, "first_window": 10_000}


def answers(tokenizer: Any, out: Any, start: int) -> list[str]:
    """What each row says after the prompt."""
    return tokenizer.batch_decode(out[:, start:], skip_special_tokens=True)
