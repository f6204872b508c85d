"""What a method may use: the model that is about to be tuned, and a place to store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safeft.data import Example
from safeft.errors import ConfigError
from safeft.generation import Generator
from safeft.generation.generator import Streaming
from safeft.judges import Judge
from safeft.records import Decoding, Prompt, Response
from safeft.runs import Lines, fingerprint, read_lines

BATCH = 96  # prompts that are written to disk together
COSTS = ("generation_seconds", "generation_tokens")
Guards = Callable[[str], Judge]
"""A guard's judge by its name. Training and guarding are strangers: who calls both brings it."""


@dataclass(frozen=True, slots=True)
class Context:
    """`generator` loads the start model on first use; `store` keeps what it wrote, for reuse.

    `spent` adds up what the texts cost when they were written, by whichever run wrote them.
    `tokenizer` is None where the model is only to be had behind an endpoint. `guards` loads what
    reads for a method that asks a guard; None where nobody brought one. `weights` loads the start
    model to be trained on, in the recipe's bits; None where there are none.
    """

    model: str
    generator: Callable[[], Generator]
    store: Path
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COSTS, 0))
    tokenizer: Callable[[], Any] | None = None
    guards: Guards | None = None
    weights: Callable[[], Any] | None = None

    def guard(self, name: str) -> Judge:
        """The guard's judge of this name. Raises ConfigError when there is none to be had."""
        if self.guards is None:
            raise ConfigError(
                f"guard {name!r}: a method asks it, and none was brought; call with "
                "guards=safeft.guarding.catalogue.output_judge"
            )
        return self.guards(name)

    def write(self, prompts: Sequence[Prompt], decoding: Decoding) -> dict[str, str]:
        """The model's answers by prompt id, stored once per prompts × decoding × model."""
        asked = [_asked(prompt) for prompt in prompts]
        drawn = asdict(decoding)
        if decoding.top_p == 1:
            del drawn["top_p"]  # texts from before it could be chosen are found again
        key = fingerprint([self.model, drawn, asked])[:16]
        path = self.store / f"written-{key}.jsonl"
        if not path.is_file():
            with Lines(path) as lines:
                done = {record["id"] for record in lines.done}
                # The batches depend on all prompts, so a resumed run asks in the same company.
                for start in range(0, len(prompts), BATCH):
                    batch = prompts[start : start + BATCH]
                    if not all(prompt.id in done for prompt in batch):
                        for made in self._made(batch, done, decoding):
                            lines.append(made)
        written = read_lines(path)
        for cost in COSTS:
            self.spent[cost] += sum(one.get(cost, 0) for one in written)
        return {record["id"]: record["text"] for record in written}

    def _made(
        self, batch: Sequence[Prompt], done: set[str], decoding: Decoding
    ) -> Iterator[list[dict[str, Any]]]:
        """What is missing of a batch, in the pieces in which it is stored.

        Each answer has its share of the cost, which survives a kill as they do. An endpoint's are
        paid for: they are asked for once, and stored as they come.
        """
        generator, start = self.generator(), time.monotonic()
        if isinstance(generator, Streaming):
            for one in generator.answers([p for p in batch if p.id not in done], decoding):
                now = time.monotonic()
                yield [_record(one, now - start)]
                start = now
            return
        answers = generator(batch, decoding)
        seconds = (time.monotonic() - start) / len(batch)
        yield [_record(one, seconds) for one in answers if one.prompt.id not in done]


def _asked(prompt: Prompt) -> list[Any]:
    """What decides an answer; texts from before answers could be begun are found again."""
    turns = [asdict(one) for one in prompt.messages]
    return [prompt.id, turns, prompt.begun] if prompt.begun else [prompt.id, turns]


def _record(answer: Response, seconds: float) -> dict[str, Any]:
    cost = dict(zip(COSTS, (round(seconds, 6), answer.tokens), strict=True))
    return {"id": answer.prompt.id, "text": answer.text, **cost}


@dataclass(frozen=True, slots=True)
class Applied:
    """Examples after a method, and what it wants on record (counts, rates)."""

    examples: tuple[Example, ...]
    notes: dict[str, Any] = field(default_factory=dict)
