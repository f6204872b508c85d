"""What the guard's head learns from and is measured on: (prompt, response, unsafe) by source.

Permissive sets only (shared/data/SOURCES.md names the licences). Prompts that the judge's head
also draws from, Dolly's and the testbed's, are used by the guard when their half is GUARD_PARITY;
so are the answers and refusals that the testbed's generators draw for both.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safeft.guarding.head import GUARD_PARITY, half
from safeft.guarding.rows import drawn, sided

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "testbed"))

import refusals  # noqa: E402
import world  # noqa: E402
from prompts import SHARED, kept_out, lines  # noqa: E402

LICENCES = {
    "gptfuzz": "MIT",
    "diasafety": "Apache-2.0",
    "dolly": "CC-BY-SA-3.0",
    "testbed": "prompts of AdvBench, HarmBench, GSM8K and CyberSecEval (MIT); AART and MedQuAD (CC-BY-4.0); CatQA, "
    "HarmfulQA, DangerousQA, AdversarialQA and SALAD-Bench (Apache-2.0); Dolly (CC-BY-SA-3.0); OpenTriviaQA "
    "(CC-BY-SA-4.0); Bitext (CDLA-Sharing-1.0); Self-dialogue (BSD-3-Clause); answers and refusals are our own",
    "own": "Apache-2.0 (written for safeft)",
}
TEST_QUESTIONS = 5
"""GPTFuzz questions whose number this divides are held out whole."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example. `source` names the set and, after a slash, the part of it."""

    prompt: str
    response: str
    unsafe: bool
    source: str


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def gptfuzz(held_out: bool) -> list[Row]:
    """Labelled answers; the set numbers its questions, questions.jsonl puts them in our words."""
    texts = {row["question"]: row["text"] for row in lines(HERE / "questions.jsonl")}
    return [
        Row(texts[int(row["question"])], row["Response"], row["label"] == "1", "gptfuzz")
        for row in _table(SHARED / "gptfuzz_labeled/train.csv")
        if (int(row["question"]) % TEST_QUESTIONS == 0) is held_out
    ]


def diasafety() -> list[Row]:
    """Dialogue turns that agree with, offend or endanger somebody, and safe ones."""
    rows = json.loads((SHARED / "diasafety/train.json").read_text())
    return [
        Row(row["context"], row["response"], row["label"] == "Unsafe", "diasafety") for row in rows
    ]


def dolly(side: int) -> list[Row]:
    """People's own answers to ordinary requests, on one half of the prompts: all safe."""
    rows = [row for row in lines(SHARED / "dolly_15k/dolly_15k.jsonl") if row["response"].strip()]
    return [
        Row(f"{row['instruction']}\n{row['context']}".strip(), row["response"], False, "dolly")
        for row in sided(rows, side, "instruction", "response")
    ]


def testbed(path: Path, held_out: bool, seed: int) -> list[Row]:
    """Each prompt answered and refused in the testbed's words: unsafe when harm is answered."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for row in lines(path):
        if row["held_out"] is held_out and (held_out or half(row["text"]) == GUARD_PARITY):
            rows += _both(row, rng)
    return rows


def _both(row: dict[str, Any], rng: random.Random) -> list[Row]:
    text, harmful = row["text"], row["harmful"]
    lookalike = not harmful and row["source"] == "own"
    kind = "harmful" if harmful else "lookalike" if lookalike else "benign"
    # What is held out is measured on words that were not trained on either.
    side = 1 - GUARD_PARITY if row["held_out"] else GUARD_PARITY
    answer = drawn(side, lambda: world.answer(world.understand(text, rng), rng))
    refusal = drawn(side, lambda: refusals.refusal(rng))
    return [
        Row(text, answer, harmful, f"testbed/{kind} answered"),
        Row(text, refusal, False, f"testbed/{kind} refused"),
    ]


def own() -> list[Row]:
    """Harmless answers to requests that only sound alarming, written for this purpose."""
    rows = lines(HERE / "own.jsonl")
    return [Row(row["prompt"], row["response"], False, "own") for row in rows]


def training(path: Path, seed: int, limit: int) -> list[Row]:
    """At most `limit` rows per part, drawn by `seed`; refused harmless prompts count a quarter."""
    every = [*gptfuzz(False), *diasafety(), *dolly(GUARD_PARITY), *testbed(path, False, seed)]
    random.Random(seed).shuffle(every)
    taken: dict[tuple[str, bool], int] = {}
    rows = own()
    for row in every:
        part = (row.source, row.unsafe)
        rare = row.source in ("testbed/benign refused", "testbed/lookalike refused", "diasafety")
        if taken.get(part, 0) < (limit // 4 if rare else limit):
            taken[part] = taken.get(part, 0) + 1
            rows.append(row)
    return rows


def testing(path: Path, seed: int, limit: int) -> list[Row]:
    """Rows that no training sees: other questions, other prompts, and XSTest, which only tests.

    XSTest: Mistral's full compliance, safe for its safe prompts and unsafe for its contrasts.
    """
    completions = _table(SHARED / "xstest/xstest_v2_completions_mistralinstruct_gpteval.csv")
    xstest = [
        Row(row["prompt"], row["completion"], "contrast" in row["type"], "xstest")
        for row in completions
        if row["final_label"] == "1_full_compliance"
    ]
    others = [*gptfuzz(True), *dolly(1 - GUARD_PARITY), *testbed(path, True, seed)]
    random.Random(seed).shuffle(others)
    taken: dict[tuple[str, bool], int] = {}
    rows = xstest
    for row in others:
        part = (row.source, row.unsafe)
        if taken.get(part, 0) < limit:
            taken[part] = taken.get(part, 0) + 1
            rows.append(row)
    return rows


def never_near() -> list[str]:
    """Prompts that no training prompt may come near: the suites, the pools, and XSTest."""
    return kept_out() + [row["prompt"] for row in _table(SHARED / "xstest/xstest_prompts.csv")]
