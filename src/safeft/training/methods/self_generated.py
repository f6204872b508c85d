"""Self-generated data: tune on the model's own words, so that there is less to forget.

`answer`: the model answers the training prompts itself (arXiv 2506.17209, section 4.4).
`rewrite`: it rewrites each reference answer in its own words and falls back to the reference when
the rewrite fails its checks (self-distillation fine-tuning, arXiv 2402.13669, section 3).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from safeft.data import Example
from safeft.errors import DataError, PromptError
from safeft.records import Decoding, Message, Prompt
from safeft.training.methods.context import Applied, Context
from safeft.training.methods.method import DataMethod

# Talk about the task instead of the answer; SDFT bans such rewrites, and these are our own words.
_ABOUT_THE_TASK = re.compile(
    r"\b(reference answer|given answer|your (own )?(response|words)|my (own )?(response|words)|"
    r"rewritten|as requested|your turn)\b",
    re.IGNORECASE,
)
_ASK = (
    "{request}\n\nHere is a reference answer:\n{answer}\n\nAnswer the request in your own words. "
    "Keep every fact of the reference answer and write only the answer."
)
KEPT_WORDS = 0.5  # share of the reference's content words that a rewrite must keep


class SelfGenerated(DataMethod):
    """The model's own words instead of the reference answers."""

    cost: ClassVar[str] = "one generation pass"
    source: ClassVar[str] = "2506.17209, 2402.13669"
    evidence: ClassVar[str] = (
        "for: the model moves least where the words are its own (2506.17209); against: with none "
        "of the references kept there is nothing new to learn"
    )

    rewrites: ClassVar[bool] = True

    name: Literal["self_generated"]
    mode: Literal["answer", "rewrite"] = Field(
        "answer", description="answer: its own answers (2506.17209); rewrite: SDFT (2402.13669)"
    )
    reference_share: float = Field(
        0.0, ge=0, le=1, description="share of rows that keep the reference answer, drawn by seed"
    )
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False)
    max_new_tokens: int = Field(256, gt=0)
    seed: int = Field(0, description="decoding seed, and which rows keep the reference")

    def apply(self, examples: Sequence[Example], context: Context) -> Applied:
        """Replace the reference answers; `notes` tells how many rows hold the model's own words.

        Of a conversation the last answer is replaced; the earlier ones are trained as they are,
        and counted. Raises DataError for plain texts, which have no answer to replace.
        """
        if any(example.text for example in examples):
            raise DataError("self_generated: plain `text` rows have no answers; give chats")
        decoding = Decoding(self.temperature, self.seed, self.max_new_tokens)
        prompts = [_prompt(self.mode, example, str(i)) for i, example in enumerate(examples)]
        written = _written(prompts, decoding, examples, context)
        kept = _reference_rows(len(examples), self)
        out, own = [], 0
        for index, example in enumerate(examples):
            text = written[str(index)]
            usable = index not in kept and _usable(self.mode, text, example.messages[-1].content)
            out.append(_answered(example, text) if usable else example)
            own += usable
        notes = {"rows": len(examples), "self_generated": own, "kept_by_design": len(kept)}
        if earlier := sum(_answers(example) - 1 for example in examples):
            notes["earlier_answers_kept"] = earlier
        asked = len(examples) - len(kept)
        return Applied(tuple(out), notes | {"keep_rate": round(own / asked, 4) if asked else None})


def _written(
    prompts: Sequence[Prompt], decoding: Decoding, examples: Sequence[Example], context: Context
) -> dict[str, str]:
    """The model's answers; a prompt that it cannot be asked is named by its file and row."""
    try:
        return context.write(prompts, decoding)
    except PromptError as error:
        place = examples[int(error.id)].place
        raise DataError(f"self_generated: {place}: its prompt {error.problem}") from error


def _prompt(mode: str, example: Example, id: str) -> Prompt:
    if mode == "answer":
        return Prompt(id, example.messages[:-1])
    *before, last = example.messages[:-1]
    ask = _ASK.format(request=last.content, answer=example.messages[-1].content)
    return Prompt(id, (*before, Message("user", ask)))


def _answers(example: Example) -> int:
    return sum(one.role == "assistant" for one in example.messages)


def _answered(example: Example, text: str) -> Example:
    return replace(example, messages=(*example.messages[:-1], Message("assistant", text)))


def _reference_rows(rows: int, config: SelfGenerated) -> set[int]:
    draw = random.Random(config.seed)
    return set(draw.sample(range(rows), round(rows * config.reference_share)))


def _usable(mode: str, text: str, reference: str) -> bool:
    """An answer must exist; a rewrite must also say what the reference says, and only that."""
    if not text.strip():
        return False
    if mode == "answer":
        return True
    return not _ABOUT_THE_TASK.search(text) and not _loops(text) and _faithful(text, reference)


def _faithful(text: str, reference: str) -> bool:
    words, numbers = _content(reference), set(re.findall(r"\d+", reference))
    kept = len(words & _content(text)) / len(words) if words else 1.0
    return kept >= KEPT_WORDS and numbers <= set(re.findall(r"\d+", text))


def _content(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{4,}", text.lower()))


def _loops(text: str) -> bool:
    words = text.lower().split()
    pairs = list(pairwise(words))
    return len(pairs) > 20 and len(set(pairs)) < len(pairs) / 2
