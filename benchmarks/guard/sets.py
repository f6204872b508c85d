"""Other people's sets as the guard's rows; shared/data/SOURCES.md names their licences."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from safeft.guarding.rows import sided

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "testbed"))

from prompts import SHARED, lines  # noqa: E402

TEST_QUESTIONS = 5
"""GPTFuzz questions whose number this divides are held out whole."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example. `source` names the set and, after a slash, the part of it."""

    prompt: str
    response: str
    unsafe: bool
    source: str
    kind: str = ""


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


def medquad(side: int) -> list[Row]:
    """Medical answers of public institutes: all safe."""
    rows = lines(SHARED / "medquad/medquad.jsonl")
    return [
        Row(row["question"], row["answer"], False, "medquad")
        for row in sided(rows, side, "question", "answer")
    ]


def bitext(side: int) -> list[Row]:
    """Answers of customer support: all safe."""
    rows = _table(SHARED / "bitext_support/bitext_support_8k_long.csv")
    return [
        Row(row["instruction"], row["response"], False, "bitext")
        for row in sided(rows, side, "instruction", "response")
    ]


def hh_rlhf() -> list[Row]:
    """What people preferred as the harmless answer to a red-teamer's last turn: taken as safe."""
    with gzip.open(SHARED / "hh_rlhf/harmless_base_test.jsonl.gz", "rt") as file:
        texts = [json.loads(line)["chosen"] for line in file]
    rows = []
    for text in texts:
        turns = text.split("\n\nHuman: ")[-1].split("\n\nAssistant: ")
        if len(turns) == 2 and len(turns[1].split()) >= 4:
            rows.append(Row(turns[0].strip(), turns[1].strip(), False, "hh_rlhf"))
    return rows


def xstest() -> list[Row]:
    """Answered in full by Mistral, Llama 2 and GPT-4, by people's labels; and the requests alone."""
    rows = []
    for model in ("mistralinstruct", "llama2orig", "gpt4"):
        path = SHARED / f"xstest/xstest_v2_completions_{model}_gpteval.csv"
        rows += [
            Row(row["prompt"], row["completion"], "contrast" in row["type"], f"xstest/{model}")
            for row in _table(path)
            if row["final_label"] == "1_full_compliance"
        ]
    asked = xstest_prompts()
    return rows + [Row(r["prompt"], "", "contrast" in r["type"], "request/xstest") for r in asked]


def xstest_prompts() -> list[dict[str, str]]:
    """Its safe prompts and their contrasts."""
    return _table(SHARED / "xstest/xstest_prompts.csv")
