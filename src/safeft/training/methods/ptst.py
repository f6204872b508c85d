"""Pure tuning, safe testing: tune without a safety prompt, serve with one.

Lyu et al. (arXiv 2402.18540): a system prompt that asks for safety loses its force when the model
is tuned under it; tuned without it and served with it, more of the refusals come back.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.training.methods.method import InferenceMethod

PROMPT = (
    "You are a helpful assistant. Help with what is asked, honestly and with care. Refuse requests "
    "that would bring harm to people, and say in a sentence why."
)


class Ptst(InferenceMethod):
    """Have whoever serves the adapter say a safety prompt that training lacked."""

    source: ClassVar[str] = "2402.18540"
    evidence: ClassVar[str] = (
        "for: almost no attack succeeds on Llama-2 after GSM8K (2402.18540, from a digest); "
        "against: helps only a model that heeds system prompts, and lengthens every prompt"
    )

    name: Literal["ptst"]
    system_prompt: str = Field(PROMPT, min_length=1, description="said before every conversation")

    def bundle(self) -> dict[str, Any]:
        """The system prompt."""
        return {"system_prompt": self.system_prompt}
