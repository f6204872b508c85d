"""A deterministic generator without a model: public, for tests, demos and documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from safeft.records import Decoding, Prompt, Response


class Scripted:
    """Answers with `script(prompt, decoding)`; the same call always gives the same answer."""

    engine = "scripted"

    def __init__(self, script: Callable[[Prompt, Decoding], str], name: str = "scripted") -> None:
        self.script = script
        self.name = name

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One scripted response per prompt."""
        texts = [self.script(prompt, decoding) for prompt in prompts]
        return [
            Response(prompt, text, tokens=len(text.split()))
            for prompt, text in zip(prompts, texts, strict=True)
        ]
