"""Who asks the local server and how long they wait, and a model that waits for them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import openai

from safeft.serve.generating import Wanted, Writer, Written

PATIENCE = 300.0  # seconds; only a hang takes so long


def asking(url: str, key: str = "secret") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=PATIENCE)


class Patient(Writer):
    """Says a word, then waits until nobody reads on; or breaks."""

    def __init__(self, error: Exception | None = None) -> None:
        self.name, self.error, self.left, self.begun = "aligned", error, Event(), Event()

    def ids(self, wanted: Wanted) -> list[int]:
        return [0]

    def write(
        self, ids: list[int], wanted: Wanted, put: Callable[[str], None], gone: Event
    ) -> Written:
        if wanted.max_new_tokens == 1:
            return Written("stop", 1, 1)
        put("Yes ")
        self.begun.set()
        if self.error:
            raise self.error
        if gone.wait(PATIENCE):
            self.left.set()
        return Written("stop", 1, 1)
