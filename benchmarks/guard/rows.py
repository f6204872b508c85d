"""What the guard learns from and is measured on: (prompt, response, unsafe) by source.

Permissive sets only (shared/data/SOURCES.md names the licences). Prompts that the judge's head
also draws from, Dolly's and the testbed's, are used by the guard when their half is GUARD_PARITY;
so are the answers and refusals that the testbed's generators draw for both.
A row without a response is a request: `unsafe` then says whether it asks for harm.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safeft.data.codes import mirrored, shifted, to_codes, to_morse
from safeft.guarding.rows import GUARD_PARITY, drawn, half, repeated

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "testbed"))

import refusals  # noqa: E402
import world  # noqa: E402
from kinds import kind_of, known, plain  # noqa: E402
from prompts import SHARED, kept_out, lines, unseen  # noqa: E402
from sets import (  # noqa: E402
    TEST_QUESTIONS,
    Row,
    bitext,
    diasafety,
    dolly,
    gptfuzz,
    hh_rlhf,
    medquad,
    xstest,
    xstest_prompts,
)

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
    "gptfuzz": 2.0, "hh_rlhf": 0.35, "medquad": 0.2, "bitext": 0.1, "diasafety": 0.1, "dolly": 0.6,
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
    """Rows that no training sees: other questions, other prompts, other sets. Of GPTFuzz all rows.

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
        # F1 means something at the share of unsafe answers that the set has, and at no other.
        if row.source == "gptfuzz" or count[row.source, row.unsafe] < limit:
            count[row.source, row.unsafe] += 1
            rows.append(row)
    return rows


def never_near() -> list[str]:
    """Prompts that no training prompt may come near: the suites, the pools, and XSTest."""
    return kept_out() + [row["prompt"] for row in xstest_prompts()]


__all__ = ["GUARD_PARITY", "LICENCES", "TEST_QUESTIONS", "Row", "never_near", "plain", "testing", "training"]
