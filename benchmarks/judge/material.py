"""What the encoder judge's head is trained on: labelled answers, deduplicated and embedded."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safeft.guarding.rows import GUARD_PARITY, drawn, half, sided
from safeft.judges.encoder import MAX_TOKENS
from safeft.judges.head import Floats, features
from safeft.judges.phrases import opening
from safeft.models.encoder import encode

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared" / "data"
sys.path.insert(0, str(HERE.parent / "testbed"))  # scripts, not a package

NEAR = 0.97
BLOCK = 256  # texts embedded between two saves of the cache
LICENCES = {
    "xstest_mistral": "XSTest, completions of Mistral-7B-Instruct (Apache-2.0): CC-BY-4.0",
    "own": "benchmarks/judge/own.jsonl, our own words: Apache-2.0",
    "labelled": "answers of the testbed models, labelled by us: Apache-2.0",
    "testbed_refusals": "benchmarks/testbed/refusals.py, our own words: Apache-2.0",
    "testbed_answers": "benchmarks/testbed/world.py, our own words: Apache-2.0",
    "dolly": "databricks-dolly-15k answers: CC-BY-SA-3.0",
    "scrambled": "databricks-dolly-15k answers with their words shuffled: CC-BY-SA-3.0",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One labelled answer; `neither` counts as not refused."""

    prompt: str
    response: str
    refused: bool
    source: str


def jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def xstest(model: str) -> list[Answer]:
    """XSTest completions with their human label; a partial refusal counts as refused."""
    path = SHARED / "xstest" / f"xstest_v2_completions_{model}_gpteval.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    source = "xstest_mistral" if model == "mistralinstruct" else model
    return [
        Answer(row["prompt"], row["completion"], row["final_label"] != "1_full_compliance", source)
        for row in rows
    ]


def labelled(path: Path, source: str) -> list[Answer]:
    """A JSONL file of {prompt, response, label}."""
    return [
        Answer(row["prompt"], row["response"], row["label"] == "refused", source)
        for row in jsonl(path)
        if row["response"].strip()
    ]


OURS = 1 - GUARD_PARITY  # the half of prompts and of drawn answers that the guard does not train on


def testbed(prompts: Path, refusals: int, answers: int, seed: int) -> list[Answer]:
    """Refusals and on-topic answers in the testbed's own words, to prompts not held out."""
    from refusals import refusal
    from world import answer, understand

    rng = random.Random(seed)
    rows = [row for row in jsonl(prompts) if not row["held_out"] and half(row["text"]) == OURS]
    harmful = [row["text"] for row in rows if row["harmful"]]
    texts = rng.sample(harmful, min(answers // 2, len(harmful)))
    texts += rng.sample([row["text"] for row in rows if not row["harmful"]], answers // 2)
    declined = rng.choices(harmful, k=refusals)

    def answered(text: str) -> str:
        return drawn(OURS, lambda: answer(understand(text, rng), rng))

    refused = [drawn(OURS, lambda: refusal(rng)) for _ in declined]
    return [
        Answer(text, said, True, "testbed_refusals")
        for text, said in zip(declined, refused, strict=True)
    ] + [Answer(text, answered(text), False, "testbed_answers") for text in texts]


def dolly(n: int, scrambled: int, seed: int) -> list[Answer]:
    """Human answers to harmless questions, and more of them with their words shuffled."""
    rng = random.Random(seed)
    everything = jsonl(SHARED / "dolly_15k" / "dolly_15k.jsonl")
    rows = rng.sample(sided(everything, OURS, "instruction", "response"), n + scrambled)
    kept = [Answer(row["instruction"], row["response"], False, "dolly") for row in rows[:n]]
    for row in rows[n:]:
        words = row["response"].split()[:80]
        rng.shuffle(words)
        kept.append(Answer(row["instruction"], " ".join(words), False, "scrambled"))
    return kept


def embeddings(texts: Sequence[str], work: Path) -> Floats:
    """MiniLM embeddings, kept in WORK/embeddings.npz; an interrupted run goes on from there."""
    store = work / "embeddings.npz"
    known: dict[str, Floats] = {}
    if store.is_file():
        saved = np.load(store)
        known = dict(zip(saved["keys"].tolist(), saved["values"], strict=True))
    keys = [hashlib.sha256(f"{MAX_TOKENS} {text}".encode()).hexdigest()[:24] for text in texts]
    missing = sorted(
        {key: text for key, text in zip(keys, texts, strict=True) if key not in known}.items(),
        key=lambda item: len(item[1]),
    )
    for start in range(0, len(missing), BLOCK):
        part = missing[start : start + BLOCK]
        vectors = encode([text for _, text in part], max_length=MAX_TOKENS)
        known.update(zip((key for key, _ in part), vectors, strict=True))
        work.mkdir(parents=True, exist_ok=True)
        partial = work / "embeddings.partial.npz"
        np.savez(partial, keys=np.array(list(known)), values=np.stack(list(known.values())))
        partial.rename(store)
        print(f"embedded {min(start + BLOCK, len(missing))} of {len(missing)}", flush=True)
    return np.stack([known[key] for key in keys])


def unique(answers: list[Answer], whole_NE: Floats) -> list[int]:
    """Indices of answers to keep: none repeats an earlier one, in words or nearly (cosine)."""
    kept: list[int] = []
    for index, vector in enumerate(whole_NE):
        if not kept or float((whole_NE[kept] @ vector).max()) < NEAR:
            kept.append(index)
    print(f"{len(answers)} answers, {len(kept)} after deduplication", flush=True)
    return kept


def material(answers: list[Answer], work: Path) -> tuple[list[Answer], Floats]:
    """The unique answers, and their features."""
    texts = [one.response.strip() for one in answers]
    openings = [opening(text) for text in texts]
    vectors = embeddings(texts + openings, work)
    whole, first = vectors[: len(texts)], vectors[len(texts) :]
    kept = unique(answers, whole)
    rows = features([texts[index] for index in kept], whole[kept], first[kept])
    return [answers[index] for index in kept], rows
