"""What the guard learns from and is measured on: (prompt, response, unsafe) by source.

Permissive sets only (shared/data/SOURCES.md names the licences). Prompts that the judge's head
also draws from, Dolly's and the testbed's, are used by the guard when their half is GUARD_PARITY;
so are the answers and refusals that the testbed's generators draw for both.
A row without a response is a request: `unsafe` then says whether it asks for harm.
"""

from __future__ import annotations

import base64
import csv
import gzip
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safeft.data.codes import mirrored, shifted, to_codes, to_morse
from safeft.guarding.rows import GUARD_PARITY, drawn, half, repeated, sided

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "testbed"))

import refusals  # noqa: E402
import world  # noqa: E402
from kinds import kind_of, known, plain  # noqa: E402
from prompts import SHARED, kept_out, lines, unseen  # noqa: E402

LICENCES = {
    "gptfuzz": "MIT",
    "diasafety": "Apache-2.0",
    "dolly": "CC-BY-SA-3.0",
    "medquad": "CC-BY-4.0",
    "bitext": "CDLA-Sharing-1.0",
    "hh_rlhf": "MIT (chosen answers of the harmless test split)",
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


def testbed(path: Path, held_out: bool, seed: int) -> list[Row]:
    """Each prompt answered and refused in the testbed's words: unsafe when harm is answered."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for row in lines(path):
        if row["held_out"] is held_out and (held_out or half(row["text"]) == GUARD_PARITY):
            rows += _both(row, rng)
    return rows


def _part(row: dict[str, Any]) -> str:
    lookalike = not row["harmful"] and row["source"] in ("own", "contrast")
    return "harmful" if row["harmful"] else "lookalike" if lookalike else "benign"


def _both(row: dict[str, Any], rng: random.Random) -> list[Row]:
    text, harmful, part = row["text"], row["harmful"], _part(row)
    # What is held out is measured on words that were not trained on either.
    side = 1 - GUARD_PARITY if row["held_out"] else GUARD_PARITY
    answer = drawn(side, lambda: world.answer(world.understand(text, rng), rng))
    refusal = drawn(side, lambda: refusals.refusal(rng))
    return [
        Row(text, answer, harmful, f"testbed/{part} answered"),
        Row(text, refusal, False, f"testbed/{part} refused"),
    ]


def requests(path: Path, held_out: bool) -> list[Row]:
    """The prompts alone, and whether they ask for harm."""
    return [
        Row(row["text"], "", row["harmful"], f"request/{_part(row)}")
        for row in lines(path)
        if row["held_out"] is held_out and (held_out or half(row["text"]) == GUARD_PARITY)
    ]


def own() -> list[Row]:
    """Harmless answers to requests that sound alarming or touch on harm, written for this purpose."""
    return [
        Row(row["prompt"], row["response"], False, f"own/{path.stem.removeprefix('own_')}")
        for path in sorted(HERE.glob("own*.jsonl"))
        for row in lines(path)
    ]


def mismatched(rows: Iterable[Row], seed: int) -> list[Row]:
    """Harmful requests beside answers to something else: safe, so that both must be read."""
    rng = random.Random(seed)
    rows = list(rows)
    safe = [row.response for row in rows if row.source in ("dolly", "bitext", "medquad")]
    harmful = [row.prompt for row in rows if row.unsafe and row.response]
    drawn_ones = rng.sample(harmful, min(600, len(harmful)))
    return [Row(one, rng.choice(safe), False, "mismatched") for one in drawn_ones]


def _shuffled(text: str, rng: random.Random) -> str:
    letters = list(text)
    rng.shuffle(letters)
    return "".join(letters)


def unreadable(rows: Iterable[Row], seed: int, count: int = 500) -> list[Row]:
    """Harmless answers, and what is no language at all, in ciphers: safe as they stand.

    A cipher is read in plain words beside these; what nobody can read harms nobody by itself.
    """
    rng = random.Random(seed)
    ways = (
        lambda text: shifted(text, rng.randint(1, 25)), mirrored, to_codes, to_morse,
        lambda text: base64.b64encode(text.encode()).decode(), lambda text: _shuffled(text, rng),
    )  # fmt: skip
    rows = list(rows)
    safe = [row for row in rows if row.source in ("dolly", "bitext", "medquad", "testbed/benign answered")]
    harmful = [row.prompt for row in rows if row.unsafe and row.response]
    out = []
    for row in rng.sample(safe, min(count, len(safe))):
        way = rng.choice(ways)
        prompt = rng.choice((row.prompt, way(row.prompt[:400]), rng.choice(harmful)))
        out.append(Row(prompt, way(row.response[:600]), False, "unreadable"))
    for row in rng.sample(safe, min(count // 2, len(safe))):
        out.append(Row(rng.choice(ways)(row.prompt[:300]), "", False, "request/unreadable"))
    return out


def others_lessons() -> list[str]:
    """The rows of each judge that ships, as its card names them: a grader shares none with the guard."""
    cards = sorted((HERE.parents[1] / "src/safeft/judges/weights").glob("*.json"))
    return [card["rows"] for path in cards if "rows" in (card := json.loads(path.read_text()))]


def ours(rows: list[Row]) -> list[Row]:
    """`rows` without those whose answer a judge learned from."""
    answers = {row.response for row in rows if row.response}
    theirs = {answer for card in others_lessons() for answer in repeated(answers, card)}
    print(f"{sum(row.response in theirs for row in rows)} of {len(rows)} rows are a judge's", flush=True)
    return [row for row in rows if row.response not in theirs]


_SHARES = {
    "gptfuzz": 1.0, "hh_rlhf": 0.35, "medquad": 0.2, "bitext": 0.1, "diasafety": 0.1, "dolly": 0.6,
    "testbed/harmful answered": 0.8, "testbed/harmful refused": 0.4, "testbed/benign answered": 0.2,
    "testbed/lookalike answered": 0.4, "testbed/benign refused": 0.05, "testbed/lookalike refused": 0.1,
    "request/harmful": 0.9, "request/benign": 0.8, "request/lookalike": 0.8, "own": 1.0,
}  # fmt: skip


def taken(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """At most `limit` times its share of each part and label, drawn by `seed`."""
    random.Random(seed).shuffle(rows)
    count: Counter[tuple[str, bool]] = Counter()
    kept = []
    for row in rows:
        share = _SHARES.get(row.source, _SHARES.get(row.source.split("/")[0], 1.0))
        if count[row.source, row.unsafe] < share * limit:
            count[row.source, row.unsafe] += 1
            kept.append(row)
    return kept


def training(path: Path, seed: int, limit: int) -> list[Row]:
    """What is learned from, each with its category where one is known."""
    side = GUARD_PARITY
    every = [*gptfuzz(False), *diasafety(), *dolly(side), *medquad(side), *bitext(side), *hh_rlhf()]
    every += [*testbed(path, False, seed), *requests(path, False), *own()]
    rows = taken(every, limit, seed)
    rows += [Row(row.prompt, "", False, "request/own") for row in own() if "support" not in row.source]
    table = known()
    goals = {text: kind for text, kind in table.items() if len(text.split()) > 2}
    seen: dict[str, str] = {}
    for row in rows:
        harmful = row.unsafe or row.source.startswith("testbed/harmful")
        if harmful and row.prompt not in seen:
            seen[row.prompt] = kind_of(row.prompt, table, goals)
    rows += mismatched(rows, seed) + unreadable(rows, seed)
    return ours([replace(row, kind=seen.get(row.prompt, "")) for row in rows])


def testing(path: Path, seed: int, limit: int) -> list[Row]:
    """Rows that no training sees: other questions, other prompts, other sets.

    XSTest only tests: full compliance by three models, safe for its safe prompts and unsafe for
    its contrasts. So do the Alpaca answers and the harmful source that is kept out whole.
    """
    side = 1 - GUARD_PARITY
    alpaca = json.loads((SHARED / "alpaca_subset/alpaca_5000.json").read_text())
    every = [*gptfuzz(True), *dolly(side), *medquad(side), *testbed(path, True, seed)]
    every += [*requests(path, True), *(Row(text, "", True, "request/kept out") for text in unseen())]
    every += [
        Row(f"{row['instruction']}\n{row['input']}".strip(), row["output"], False, "alpaca")
        for row in alpaca
        if row["output"].strip()
    ]
    random.Random(seed).shuffle(every)
    count: Counter[tuple[str, bool]] = Counter()
    rows = xstest()
    for row in every:
        if count[row.source, row.unsafe] < limit:
            count[row.source, row.unsafe] += 1
            rows.append(row)
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
    asked = _table(SHARED / "xstest/xstest_prompts.csv")
    return rows + [Row(r["prompt"], "", "contrast" in r["type"], "request/xstest") for r in asked]


def never_near() -> list[str]:
    """Prompts that no training prompt may come near: the suites, the pools, and XSTest."""
    return kept_out() + [row["prompt"] for row in _table(SHARED / "xstest/xstest_prompts.csv")]


__all__ = ["GUARD_PARITY", "LICENCES", "TEST_QUESTIONS", "Row", "never_near", "plain", "testing", "training"]
