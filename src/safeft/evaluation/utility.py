"""Utility on the domain's own test rows: held-out loss, ROUGE-L, and right answers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safeft.data import Example
from safeft.data.masks import encode
from safeft.evaluation.ask import respond
from safeft.evaluation.matching import matched
from safeft.generation import Generator
from safeft.records import Decoding, Prompt
from safeft.runs import Lines, read_lines


def held_out_loss(
    load: Callable[[], tuple[Any, Any]],
    examples: Sequence[Example],
    path: Path,
    max_length: int = 1024,
    batch_size: int = 16,
) -> list[float]:
    """Mean negative log-likelihood (nats per answer token) of each example, stored at `path`.

    `load` gives (model, tokenizer) and is only called when something is missing. NaN stands for a
    row without an answer token in its first `max_length` tokens.
    """
    if not path.is_file():
        with Lines(path) as lines:
            numbered = list(enumerate(examples))
            lines.fill(numbered, batch_size, lambda part: _losses(*load(), part, max_length))
    losses = [record["loss"] for record in read_lines(path)]
    return [math.nan if loss is None else float(loss) for loss in losses]


def _losses(
    model: Any, tokenizer: Any, numbered: Sequence[tuple[int, Example]], max_length: int
) -> list[dict[str, Any]]:
    """Per-row mean loss over the supervised tokens; a fully masked row has none: NaN, here null."""
    import torch

    encoded = [encode(one, tokenizer, max_length) for _, one in numbered]
    batch = tokenizer.pad(
        {"input_ids": [list(one.ids) for one in encoded]},
        padding_side="right",
        return_attention_mask=True,
        return_tensors="pt",
    ).to(model.device)
    with torch.inference_mode():
        logits = model(**batch).logits[:, :-1].float()
    targets = batch["input_ids"][:, 1:]
    mask = torch.zeros_like(targets, dtype=torch.float32)
    for row, one in enumerate(encoded):
        mask[row, : len(one.ids) - 1] = torch.tensor(one.loss_mask[1:], dtype=torch.float32)
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    means = ((loss * mask).sum(1) / mask.sum(1)).tolist()
    return [
        {"id": str(number), "loss": None if math.isnan(mean) else round(mean, 6)}
        for (number, _), mean in zip(numbered, means, strict=True)
    ]


def rouge(
    generator: Callable[[], Generator],
    examples: Sequence[Example],
    max_new_tokens: int,
    folder: Path,
) -> list[float]:
    """ROUGE-L F1 of the greedy answer to each example; answers and scores are stored.

    Beside them `matches.jsonl` says which answers are right, where the reference can be matched.
    """
    scores = folder / "rouge.jsonl"
    if not scores.is_file():
        prompts = [Prompt(str(i), one.messages[:-1]) for i, one in enumerate(examples)]
        decoding = Decoding(0.0, 0, max_new_tokens)
        responses = respond(generator, prompts, decoding, folder / "answers.jsonl")
        matched(examples, responses, folder / "matches.jsonl")
        with Lines(scores) as lines:
            lines.append(
                {
                    "id": one.prompt.id,
                    "rouge_l": round(rouge_l(one.text, example.messages[-1].content), 6),
                }
                for one, example in list(zip(responses, examples, strict=True))[len(lines.done) :]
            )
    return [float(record["rouge_l"]) for record in read_lines(scores)]


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004, sentence level, no stemming)."""
    one, two = (re.findall(r"\w+", text.lower()) for text in (candidate, reference))
    if not one or not two:
        return 0.0
    row = [0] * (len(two) + 1)
    for word in one:
        before = 0
        for column, other in enumerate(two, 1):
            above = row[column]
            row[column] = before + 1 if word == other else max(above, row[column - 1])
            before = above
    return 2 * row[-1] / (len(one) + len(two))
