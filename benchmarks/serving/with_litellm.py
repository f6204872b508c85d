"""The word check as a guardrail of LiteLLM's proxy; it runs in the peers' environment.

A stream is held back, read every `WINDOW` chunks, and what was read is released: nothing leaves
unread, as with the two others. LiteLLM's default releases first.
"""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from words import WINDOW, held


class WordGuardrail(CustomGuardrail):
    """Blocks an answer in which a word is found."""

    streaming_buffer_until_moderated = True
    streaming_buffer_release_on_scan = True
    streaming_sampling_rate = WINDOW

    async def apply_guardrail(
        self, inputs: Any, request_data: dict[str, Any], input_type: str, logging_obj: Any = None
    ) -> Any:
        """The inputs as they came. Raises HTTPException for a word."""
        if any(map(held, inputs.get("texts") or [])):
            raise HTTPException(400, {"error": "a word of the list"})
        return inputs
