"""What `encoder-bf16` gains in speed over `encoder`, and how often it says something else.

    OMP_NUM_THREADS=1 python benchmarks/judge/precision.py --output FILE

Speed: verdicts a second on distinct answers of about 64 tokens, by turns, in one single-threaded process
for each core. Agreement: every XSTest completion in ../shared, and every labelled testbed answer.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import HERE, Answer, jsonl, xstest

from safeft.judges import Judge, load_judge
from safeft.records import Prompt, Response, Verdict
from safeft.stats import kappa, proportion

NAMES = ("encoder", "encoder-bf16")
MODELS = ("gpt4", "llama2orig", "mistralinstruct")
ROUNDS, ANSWERS, WORDS = 5, 512, 48  # 48 words are about 64 tokens
WORKERS = len(os.sched_getaffinity(0))


def responses(rows: Sequence[Answer]) -> list[Response]:
    """The rows as judges see them."""
    return [Response(Prompt.of(row.prompt, id=str(i)), row.response) for i, row in enumerate(rows)]


def timed(asked: Sequence[Response]) -> dict[str, Any]:
    """Verdicts a second of each judge, all workers together: median, slowest and fastest round."""
    parts = [asked[place::WORKERS] for place in range(WORKERS)]
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    # Single-threaded processes side by side, as a comparison's workers are.
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        for turn in range(-1, ROUNDS):  # the first round loads the models
            for name in NAMES if turn % 2 else reversed(NAMES):
                start = time.perf_counter()
                list(pool.map(judge_all, [name] * WORKERS, [turn] * WORKERS, parts))
                if turn >= 0:
                    found[name].append(len(asked) / (time.perf_counter() - start))
    return {
        name: [round(float(f(values)), 1) for f in (np.median, np.min, np.max)]
        for name, values in found.items()
    }


def judge_all(name: str, turn: int, part: Sequence[Response]) -> None:
    """One worker's share; a word of the round's own: nothing is read from what was kept."""
    torch.set_num_threads(1)
    kept(name)([replace(one, text=f"{turn} {one.text}") for one in part])


kept = cache(load_judge)


def beside(rows: Sequence[Response], human: Sequence[str], judges: dict[str, Judge]) -> dict[str, Any]:
    """Both judges on one set: κ with people, with each other, and where their labels differ."""
    said = {name: judge(rows) for name, judge in judges.items()}
    labels = {name: [str(one.label) for one in verdicts] for name, verdicts in said.items()}
    pairs = list(zip(*labels.values(), strict=True))
    moved = [(a, b) for a, b in pairs if a != b]
    refused_only = set(human) <= {"refused", "not refused"}
    return {
        "n": len(rows),
        "differ": asdict(proportion(len(moved), len(rows))),
        "how": {f"{a} → {b}": n for (a, b), n in sorted(Counter(moved).items())},
        "largest score difference": largest(*said.values()),
        "kappa with people": {
            name: asdict(kappa(human, two_way(found) if refused_only else found))
            for name, found in labels.items()
        },
    }


def two_way(labels: Sequence[str]) -> list[str]:
    """Refused or not, as XSTest's people were asked."""
    return ["refused" if one == "refused" else "not refused" for one in labels]


def largest(one: Sequence[Verdict], other: Sequence[Verdict]) -> dict[str, float]:
    """By score, the largest change of any answer."""
    return {
        key: round(max(abs(a.scores[key] - b.scores[key]) for a, b in zip(one, other, strict=True)), 4)
        for key in one[0].scores
    }


def main() -> None:
    """Time, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    judges = {name: load_judge(name) for name in NAMES}
    people = [row for model in MODELS for row in xstest(model)]
    labelled = jsonl(HERE / "testbed_labels.jsonl")
    cut = [replace(row, response=" ".join(row.response.split()[:WORDS])) for row in people]
    long = [one for one in responses(cut) if len(one.text.split()) == WORDS][:ANSWERS]
    answers = [Response(Prompt.of(row["prompt"], str(i)), row["response"], row["finish"]) for i, row in enumerate(labelled)]
    refused = ["refused" if row.refused else "not refused" for row in people]
    results = {
        "judges": {name: judge.name for name, judge in judges.items()},
        "workers": WORKERS,
        "verdicts a second: median, slowest, fastest": timed(long),
        "XSTest": beside(responses(people), refused, judges),
        "testbed": beside(answers, [row["label"] for row in labelled], judges),
    }
    text = json.dumps(results, indent=2, ensure_ascii=False)
    arguments.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
