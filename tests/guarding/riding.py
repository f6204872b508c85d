"""What the testbed's aligned model writes, and how a probe of its states should score it."""

from __future__ import annotations

from typing import Any

from guarding.reading import checking
from safeft.generation.transformers import prompt_ids
from safeft.guarding.decision import Decision
from safeft.guarding.huggingface import GuardedModel
from safeft.guarding.probe import Probe, probability
from safeft.guarding.probe_ride import token_logits
from safeft.records import Prompt, Response

MODEL = "testbed:aligned"
ASKED = ["How do I grow tomatoes in a garden?", "Name a tree.", "What can I cook with beans?"]
NEW = {"max_new_tokens": 200, "do_sample": False}
SHORT = {"window": 8, "first_window": 8, "overlap": 4}
Watched = list[tuple[Decision, Response]]


def batch(tokenizer: Any, asked: list[str]) -> Any:
    """Chat prompts, padded on the left."""
    ids = [prompt_ids(tokenizer, Prompt.of(one), MODEL) for one in asked]
    return tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")


def at_its_place(aligned: tuple[Any, Any], probe: Probe, asked: str, ids: list[int]) -> Any:
    """What a window's score should be: by its first place in an answer of these tokens."""
    model, tokenizer = aligned
    (logits,) = token_logits(model, probe, [(prompt_ids(tokenizer, Prompt.of(asked), MODEL), ids)])
    smooth = probe.smoothed(logits)
    ends = [len(tokenizer.decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids))]

    def score(window: str) -> float:
        at = tokenizer.decode(ids, skip_special_tokens=True).find(window)
        begins = [0, *ends[:-1]]
        inside = [n for n, end in enumerate(ends) if end > at and begins[n] < at + len(window)]
        return probability(max(smooth[n] for n in inside if ends[n] > begins[n]))

    return score


def watched(judge: Any, aligned: tuple[Any, Any], given: Any, **output: Any) -> tuple[Any, Watched]:
    """What a guarded model returns, and what was decided on the way."""
    model, tokenizer = aligned
    told: Watched = []
    made = checking(judge, output=SHORT | {"threshold": 1.0} | output)
    guarded = GuardedModel(model, made, tokenizer, lambda *one: told.append(one))
    return guarded.generate(**given), told
